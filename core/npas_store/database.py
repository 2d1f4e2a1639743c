"""The way to Postgres: one engine a process, and the only place that commits."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from npas_store.settings import required, settings

UNREACHABLE = (OperationalError, InterfaceError)
"""What is raised when Postgres is away, or busy for too long: the same may work in a moment.

The transaction may nevertheless have been committed; whoever repeats it must be able to tell.
"""


def why_unreachable(error: OperationalError | InterfaceError) -> str:
    """Say in one line what keeps Postgres from answering."""
    return f"Postgres does not answer: {str(error.orig).splitlines()[0]}"


_LIMITS = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    "timezone": "UTC",
}


@functools.cache
def engine() -> Engine:
    """Return the engine of this process; it connects at first use and must not cross a fork."""
    url = make_url(required(settings().database_url, "NPAS_DATABASE_URL"))
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": 5,
            "options": " ".join(f"-c {name}={value}" for name, value in _LIMITS.items()),
            "keepalives_idle": 30,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        },
    )


def forget() -> None:
    """Close all connections and forget the engine: the next call reads the settings anew."""
    if engine.cache_info().currsize:
        engine().dispose()
    engine.cache_clear()


@contextmanager
def transaction() -> Iterator[Session]:
    """Open a session that commits at the end of the block, or changes nothing if it raises.

    Rows read in it stay readable afterwards.
    """
    with Session(engine(), expire_on_commit=False) as session:
        yield session
        session.commit()


@contextmanager
def reading() -> Iterator[Session]:
    """Open a session on one unchanging snapshot, in which nothing can be written."""
    snapshot = engine().execution_options(
        postgresql_readonly=True, isolation_level="REPEATABLE READ"
    )
    with Session(snapshot, expire_on_commit=False, autoflush=False) as session:
        yield session
