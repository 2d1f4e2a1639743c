"""The way to Postgres: one engine a process, and the only place that commits."""

import functools
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from pydantic_core import from_json
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.orm import Session

from npas_store.settings import required, settings

UNREACHABLE = (OperationalError, InterfaceError)
"""What is raised when Postgres is away, or busy for too long: the same may work in a moment.

The transaction may nevertheless have been committed; whoever repeats it must be able to tell.
"""


def why_unreachable(error: OperationalError | InterfaceError) -> str:
    """Say in one line what keeps Postgres from answering."""
    return f"Postgres does not answer: {str(error.orig).splitlines()[0]}"


_CLIENT_WAITS = 1.2
"""Times as long as the server may take, so that a server that lives says it first."""


class _Limited(psycopg.Connection[Any]):
    """Gives up a server that says nothing, as one that is frozen; the connection is closed then.

    TCP has limits of its own for that (`tcp_user_timeout`), the sockets of one machine have none.
    """

    answer_seconds: float | None = None

    def wait(self, *arguments: Any, **options: Any) -> Any:
        options.setdefault("timeout", self.answer_seconds)
        try:
            return super().wait(*arguments, **options)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise  # the server's own word
            self.close()
            told = f"no answer within {options['timeout']:.0f} s"
            raise psycopg.OperationalError(told) from None


POOL_SIZE = 10
"""Connections that a process keeps; as many again are opened and closed where it needs more."""


@functools.cache
def engine() -> Engine:
    """Return the engine of this process; it connects at first use and must not cross a fork."""
    return _engine()


@functools.cache
def _alone() -> Engine:
    """Return an engine without transactions: to switch a connection over takes longer than most
    statements.
    """
    return _engine(isolation_level="AUTOCOMMIT")


@functools.cache
def _snapshots() -> Engine:
    return engine().execution_options(postgresql_readonly=True, isolation_level="REPEATABLE READ")


def _engine(**options: Any) -> Engine:
    url = make_url(required(settings().database_url, "NPAS_DATABASE_URL"))
    seconds = settings().answer_seconds
    milliseconds = max(1, int(1000 * seconds))
    limits = {
        "statement_timeout": milliseconds,
        "lock_timeout": milliseconds * 2 // 3,
        "idle_in_transaction_session_timeout": "60s",
        "timezone": "UTC",
    }
    made = create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=POOL_SIZE,
        json_deserializer=from_json,  # several times as fast as the standard library's
        **options,
        connect_args={
            "connect_timeout": 5,
            "options": " ".join(f"-c {name}={value}" for name, value in limits.items()),
            "keepalives_idle": 30,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": milliseconds,
        },
    )

    @event.listens_for(made, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: Any, options: Any) -> _Limited:
        opened = _Limited.connect(*arguments, **options)
        opened.answer_seconds = _CLIENT_WAITS * seconds
        return opened

    event.listen(made, "checkout", _look_at)
    event.listen(made, "checkin", _note_time)
    return made


_FRESH_SECONDS = 5.0
"""A connection that was in use so lately is trusted, unless the server hung up."""


def _note_time(_connection: Any, record: Any) -> None:
    record.info["at"] = time.monotonic()


def _look_at(connection: Any, record: Any, _fairy: Any) -> None:
    """Refuse a connection whose server is gone: the pool then opens a new one.

    A server that ends says so, or its socket is closed: either can be read without asking. Only
    what was idle for a while is asked; a round trip before every transaction would cost more than
    most of these.
    """
    now = time.monotonic()
    is_gone = connection.closed or _says_something(connection)
    if not is_gone and now - record.info.get("at", now) > _FRESH_SECONDS:
        try:
            connection.execute("SELECT 1")
            connection.rollback()
        except psycopg.Error:
            is_gone = True
    if is_gone:
        raise InvalidatePoolError("Postgres has closed the connection")


def _says_something(connection: Any) -> bool:
    poll = select.poll()  # `select.select` knows no file beyond the 1,024th
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))


def take_time(connection: Connection) -> None:
    """Have this side wait for a connection's statements however long; afterwards it is closed."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, _Limited)
    driver.answer_seconds = None
    connection.detach()


def forget() -> None:
    """Close all connections and forget the engine: the next call reads the settings anew."""
    for opened in (engine, _alone):
        if opened.cache_info().currsize:
            opened().dispose()
    for kept in (engine, _snapshots, _alone):
        kept.cache_clear()


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
    with Session(_snapshots(), expire_on_commit=False, autoflush=False) as session:
        yield session


@contextmanager
def autocommitting() -> Iterator[Session]:
    """Open a session in which each statement is a transaction of its own, committed at once.

    It is one round trip where `reading` is three: for who needs a single statement.
    """
    with Session(_alone(), expire_on_commit=False, autoflush=False) as session:
        yield session
