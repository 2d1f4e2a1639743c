"""A database that says nothing is taken for away, however it is reached."""

import os
import signal

import pytest
from npas_local import embedded
from npas_store import migrate
from npas_store.database import UNREACHABLE, engine, forget, take_time, transaction
from sqlalchemy import text

ONE = text("SELECT 1")


@pytest.fixture
def postgres(tmp_path, in_environment):
    """A Postgres of one's own, behind a socket, that may take a second to answer."""
    with (
        embedded.running(tmp_path, redis=False) as servers,
        in_environment(NPAS_DATABASE_URL=servers.database_url, NPAS_ANSWER_SECONDS="1"),
    ):
        yield servers.children["postgres"]


def own_process():
    with transaction() as session:
        return session.scalar(text("SELECT pg_backend_pid()"))


def answers():
    with transaction() as session:
        return session.scalar(ONE) == 1


@pytest.mark.usefixtures("postgres")
def test_frozen_connection_is_given_up_and_replaced():
    frozen = own_process()
    with transaction() as session:
        session.execute(ONE)
        os.kill(frozen, signal.SIGSTOP)
        with pytest.raises(UNREACHABLE[0], match="no answer within 1 s"):
            session.execute(ONE)
        session.rollback()
    try:
        assert answers()
        assert own_process() != frozen
    finally:
        os.kill(frozen, signal.SIGCONT)


def test_frozen_server_is_given_up(postgres):
    forget()
    os.kill(postgres.pid, signal.SIGSTOP)
    try:
        with pytest.raises(UNREACHABLE[0]):
            answers()
    finally:
        os.kill(postgres.pid, signal.SIGCONT)
    assert answers()


@pytest.mark.usefixtures("postgres")
def test_statement_that_takes_too_long_is_ended_by_the_server():
    with pytest.raises(UNREACHABLE[0], match="statement timeout"), transaction() as session:
        session.execute(text("SELECT pg_sleep(9)"))
    assert answers()


@pytest.mark.usefixtures("postgres")
def test_migrations_may_take_their_time():
    migrate.upgrade()
    with engine().begin() as connection:
        take_time(connection)
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SELECT pg_sleep(2)"))
    assert answers()
