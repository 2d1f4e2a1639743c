"""Brings the database to the schema of this code: `python -m npas_store.migrate`."""

import functools
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from npas_store.database import UNREACHABLE, engine, reading, take_time, why_unreachable
from npas_store.settings import SettingError

_LOCK = 0x6E7061736D  # "npasm": two servers that start together migrate one after the other


class SchemaError(Exception):
    """The database has another schema than this code needs; the message says what to do."""


def _scripts() -> Path:
    inside = Path(__file__).parent / "migrations"  # in a wheel
    return inside if inside.is_dir() else Path(__file__).parents[2] / "migrations"


def config(connection: Connection) -> Config:
    """Return Alembic's configuration, bound to a connection that the caller owns."""
    made = Config(attributes={"connection": connection})
    made.set_main_option("script_location", str(_scripts()))
    return made


def upgrade(revision: str = "head") -> None:
    """Migrate up; whoever comes second waits for the first, then finds nothing to do.

    Raises:
        SchemaError: the database belongs to a newer version.
    """
    _locked("upgrade", revision)


def downgrade(revision: str) -> None:
    """Migrate down, to a revision or to "base"."""
    _locked("downgrade", revision)


def _locked(direction: str, revision: str) -> None:
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as guard:
        take_time(guard)
        guard.execute(text("SET statement_timeout = 0; SET lock_timeout = 0"))
        guard.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
        found = _revision(guard)
        if found is not None and found not in _known()[1]:
            raise _not_ours(found)
        with engine().begin() as connection:
            getattr(command, direction)(config(connection), revision)


def require(session: Session | None = None) -> None:
    """Check that the database is at the schema this code was written for.

    Args:
        session: where to look; None: in one of its own.

    Raises:
        SchemaError: it is older, or newer.
    """
    if session is None:
        with reading() as own:
            require(own)
        return
    found = _revision(session)
    if found != _known()[0]:
        raise _not_ours(found)


def head() -> str | None:
    """Return the revision that this code was written for."""
    return _known()[0]


def _revision(connection: Connection | Session) -> str | None:
    """Return the revision of the database; None if it has no tables yet."""
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


@functools.cache
def _known() -> tuple[str | None, frozenset[str]]:
    """Return the newest revision of this code, and all."""
    scripts = ScriptDirectory(str(_scripts()))
    return scripts.get_current_head(), frozenset(s.revision for s in scripts.walk_revisions())


def _not_ours(found: str | None) -> SchemaError:
    wanted, known = _known()
    advice = (
        "run `python -m npas_store.migrate`"
        if found is None or found in known
        else "it belongs to a newer version of npas: install that"
    )
    return SchemaError(f"the database has schema {found}, this code needs {wanted}; {advice}")


def main() -> int:
    """Migrate to the newest schema and say so; embedded servers do this when they start."""
    try:
        upgrade()
    except (SettingError, SchemaError) as error:
        sys.stderr.write(f"npas: {error}\n")
        return 2
    except UNREACHABLE as error:
        sys.stderr.write(f"npas: {why_unreachable(error)}\n")
        return 2
    sys.stdout.write("npas: the database is up to date\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
