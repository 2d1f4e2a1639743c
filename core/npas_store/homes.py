"""That a folder (NPAS_HOME) and a database belong together: both hold the same id.

What jobs need to go on and what they deliver lies in the folder, the rows that name it in the
database. A worker on another folder would train from the start what it cannot find, and deliver
where nobody looks; on the folder of another database it would delete what that one's jobs need.

The folder also says which cluster's database it is, so that a dump that was restored beside the
database it was made of is told from it; a copy of a cluster's files is not.
"""

import contextlib
import os
import secrets
import socket
from pathlib import Path

from sqlalchemy import func, select, text
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

    The folder's half is written beside its name first and gets it once the database has its own:
    whenever this is cut off, it can be done again.

    Raises:
        HomeError: one of them belongs to another, or the folder cannot be written.
    """
    with transaction() as session:
        session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        row, written = session.scalars(select(Home)).one_or_none(), _read(marker())
        if row is None and written is None:
            row = Home(id=secrets.token_hex(16), place=f"{socket.gethostname()}:{_folder()}")
            session.add(row)
            session.flush()
            _write(row.id, _cluster(session))
        elif row is not None and written == (row.id, None):  # from before clusters were noted
            _write(row.id, _cluster(session))
        known = row.id if row is not None else None
    unnamed = _read(_unnamed())
    if unnamed is not None and unnamed[0] == known:
        with contextlib.suppress(FileNotFoundError):  # another process was quicker
            _unnamed().replace(marker())
    with transaction() as session:
        check(session)


def check(session: Session) -> None:
    """Check that folder and database belong together.

    Raises:
        HomeError: they do not.
    """
    row, written = session.scalars(select(Home)).one_or_none(), _read(marker())
    found, cluster = written or (None, None)
    if row is None:
        raise HomeError(
            f"NPAS_HOME: {_folder()} belongs to another database; choose another folder, "
            "or set NPAS_DATABASE_URL to that database, or, if it is gone for good, "
            f"delete {marker()}"
        )
    if row.id != found:
        raise HomeError(
            f"NPAS_HOME: the files of this database lie in another folder than {_folder()}, "
            f"first used as {row.place}; set NPAS_HOME to it, shared between machines if need be, "
            f"or, if it is gone for good, write {row.id} into {marker()}"
        )
    if cluster not in (None, _cluster(session)):
        raise HomeError(
            f"NPAS_HOME: {_folder()} belongs to the database that this one is a copy of, and both "
            "would clear up each other's files; choose another folder, or, if the other one is "
            f"gone for good or this is where it was moved to, write {row.id} alone into {marker()}"
        )


def _cluster(session: Session) -> str:
    """Return a name of the database within its cluster, which a copy in another cluster lacks."""
    number, may_ask = session.execute(
        text(
            "SELECT oid, has_function_privilege('pg_control_system()', 'execute') "
            "FROM pg_database WHERE datname = current_database()"
        )
    ).one()
    query = text("SELECT system_identifier FROM pg_control_system()")
    return f"{session.scalar(query) if may_ask else 'unknown'}/{number}"


def unwritable(error: OSError) -> HomeError:
    """Return the refusal of a folder in which nothing can be written."""
    return HomeError(
        f"NPAS_HOME: {_folder()} cannot be written ({error.strerror}); "
        "make it writable, or choose another folder"
    )


def _folder() -> Path:
    return settings().home


def _unnamed() -> Path:
    return marker().with_suffix(".new")


def _write(known: str, cluster: str) -> None:
    """Put the folder's half on disk, beside its name."""
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        with _unnamed().open("w") as file:
            file.write(f"{known}\n{cluster}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(error) from error


def _read(path: Path) -> tuple[str, str | None] | None:
    """Return the id that is written in a file, and the cluster if it is; None: no file.

    Raises:
        HomeError: there is something else, or it cannot be read.
    """
    try:
        lines = path.read_text().split()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise HomeError(
            f"NPAS_HOME: {path} cannot be read ({error}); make it readable, or choose another "
            "folder"
        ) from error
    return (lines[0] if lines else "", lines[1] if lines[1:] else None)
