"""Real PostgreSQL and Redis for every test that asks for `services` or `store`."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set environment variables for the length of the block, and have settings read anew."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    _forget()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        _forget()


def _forget() -> None:
    from npas_store import broker, database
    from npas_store.settings import settings

    database.forget()
    settings.cache_clear()
    broker.app.cache_clear()


@pytest.fixture(scope="session")
def in_environment() -> Callable[..., AbstractContextManager[None]]:
    """A context manager that sets environment variables and has settings read anew."""
    return environment


@pytest.fixture(scope="session")
def services() -> Iterator[Path]:
    """Postgres, migrated, and Redis, once for all tests; yields the folder of the service.

    The environment points at them, so that processes started by a test use them too.
    """
    from npas_store import embedded, migrate

    with tempfile.TemporaryDirectory(prefix="npas-tests-") as folder:
        home = Path(folder)
        with (
            embedded.running(home) as servers,
            environment(
                NPAS_DATABASE_URL=servers.database_url,
                NPAS_REDIS_URL=servers.redis_url,
                NPAS_HOME=folder,
            ),
        ):
            migrate.upgrade()
            yield home


@pytest.fixture
def store(services: Path) -> Path:
    """The services with no job in Postgres and nothing in Redis; yields the service's folder."""
    from npas_store import broker
    from npas_store.database import transaction
    from npas_store.tables import Row
    from sqlalchemy import text

    tables = ", ".join(Row.metadata.tables.keys() - {"home"})  # the folder stays its own
    with transaction() as session:
        session.execute(text(f"TRUNCATE {tables} RESTART IDENTITY"))
    with broker.client() as server:
        server.flushall()
    return services
