"""That a folder (NPAS_HOME) and a database belong together: both hold the same id.

What jobs need to go on and what they deliver lies in the folder, the rows that name it in the
database. A worker on another folder would train from the start what it cannot find, and deliver
where nobody looks; on the folder of another database it would delete what that one's jobs need.
"""

import secrets
import socket
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from npas_store.database import transaction
from npas_store.settings import SettingError, settings
from npas_store.tables import Home

_LOCK = 0x6E70617368  # "npash": of two that come first, one settles


class HomeError(SettingError):
    """NPAS_HOME is not the folder of this database; the message says what to do."""


def marker() -> Path:
    """Return the file in the folder that holds its id."""
    return settings().home / "id"


def settle() -> None:
    """Check that folder and database belong together; two that are new are joined for good.

    Raises:
        HomeError: one of them belongs to another, or the folder cannot be written.
    """
    with transaction() as session:
        session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        if _id_of_database(session) is None and _id_of_folder() is None:
            made = secrets.token_hex(16)
            try:
                settings().home.mkdir(parents=True, exist_ok=True)
                marker().write_text(made + "\n")
            except OSError as error:
                raise unwritable(error) from error
            place = f"{socket.gethostname()}:{settings().home}"
            session.add(Home(id=made, place=place))
            session.flush()
        check(session)


def check(session: Session) -> None:
    """Check that folder and database belong together.

    Raises:
        HomeError: they do not.
    """
    row, found = session.scalars(select(Home)).one_or_none(), _id_of_folder()
    if row is not None and row.id == found:
        return
    if row is None:
        raise HomeError(
            f"NPAS_HOME: {settings().home} belongs to another database; choose another folder, "
            "or set NPAS_DATABASE_URL to that database, or, if it is gone for good, "
            f"delete {marker()}"
        )
    raise HomeError(
        f"NPAS_HOME: the files of this database lie in another folder than {settings().home}, "
        f"first used as {row.place}; set NPAS_HOME to it, shared between machines if need be, or, "
        f"if it is gone for good, write {row.id} into {marker()}"
    )


def unwritable(error: OSError) -> HomeError:
    """Return the refusal of a folder in which nothing can be written."""
    return HomeError(
        f"NPAS_HOME: {settings().home} cannot be written ({error.strerror}); "
        "make it writable, or choose another folder"
    )


def _id_of_database(session: Session) -> str | None:
    return session.scalars(select(Home.id)).one_or_none()


def _id_of_folder() -> str | None:
    try:
        return marker().read_text().strip()
    except FileNotFoundError:
        return None
