"""Brings the database to the schema of this code: `python -m npas_store.migrate`."""

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from npas_store.database import UNREACHABLE, engine, why_unreachable
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
    """Migrate up; whoever comes second waits for the first, then finds nothing to do."""
    _locked("upgrade", revision)


def downgrade(revision: str) -> None:
    """Migrate down, to a revision or to "base"."""
    _locked("downgrade", revision)


def _locked(direction: str, revision: str) -> None:
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as guard:
        guard.execute(text("SET statement_timeout = 0; SET lock_timeout = 0"))
        guard.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
        try:
            with engine().begin() as connection:
                getattr(command, direction)(config(connection), revision)
        finally:
            guard.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
            guard.execute(text("RESET ALL"))


def require() -> None:
    """Check that the database is at the schema this code was written for.

    Raises:
        SchemaError: it is older, or newer.
    """
    with engine().connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
        scripts = ScriptDirectory.from_config(config(connection))
    wanted = scripts.get_current_head()
    if found == wanted:
        return
    known = {script.revision for script in scripts.walk_revisions()}
    advice = (
        "run `python -m npas_store.migrate`"
        if found is None or found in known
        else "it belongs to a newer version of npas: install that"
    )
    raise SchemaError(f"the database has schema {found}, this code needs {wanted}; {advice}")


def main() -> int:
    """Migrate to the newest schema and say so; embedded servers do this when they start."""
    try:
        upgrade()
    except SettingError as error:
        sys.stderr.write(f"npas: {error}\n")
        return 2
    except UNREACHABLE as error:
        sys.stderr.write(f"npas: {why_unreachable(error)}\n")
        return 2
    sys.stdout.write("npas: the database is up to date\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
