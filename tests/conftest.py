"""Real PostgreSQL and Redis for every test that asks for `services` or `store`."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from npas_local.testing import environment


@pytest.fixture(scope="session")
def in_environment() -> Callable[..., AbstractContextManager[None]]:
    """A context manager that sets environment variables and has settings read anew."""
    return environment


@pytest.fixture(scope="session")
def services() -> Iterator[Path]:
    """Postgres, migrated, and Redis, once for all tests; yields the folder of the service.

    The environment points at them, so that processes started by a test use them too.
    """
    from npas_local import embedded
    from npas_store import migrate

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
