"""Tiers of tests, and real PostgreSQL and Redis for every test that asks for them."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from npas_local.environment import environment

TIERS = {
    "servers": ("api", "client", "docker", "faults", "local", "packaging", "store", "worker"),
    "training": ("benchmarks", "run", "train"),
}
"""Marks, and the folders whose tests get them: `make quick` leaves those out, and `slow` ones."""

LONG_SECONDS = 1.0
"""A test that takes longer and has none of the marks is told of at the end of `make quick`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folders; what takes long comes first, so that processes end together."""
    here = Path(__file__).parent
    long = set()
    for item in items:
        folder = item.path.relative_to(here).parts[0]
        for mark, folders in TIERS.items():
            if folder in folders:
                item.add_marker(mark)
        if any(item.get_closest_marker(mark) for mark in (*TIERS, "slow")):
            long.add(item.path)
    items.sort(key=lambda item: item.path not in long)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Tell which tests of the quick tier are not quick: they want the mark `slow`."""
    if "not slow" not in config.getoption("markexpr"):
        return
    reports = terminalreporter.getreports("passed")
    found = sorted(((r.duration, r.nodeid) for r in reports if r.when == "call"), reverse=True)
    for seconds, name in found:
        if seconds > LONG_SECONDS:
            terminalreporter.write_line(f"{seconds:.1f} s, and not marked slow: {name}")


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


@pytest.fixture(scope="session")
def empty(services: Path) -> Callable[[], Path]:
    """Call it to delete all jobs in Postgres and all in Redis; it returns the service's folder."""
    from npas_store import broker, homes
    from npas_store.database import transaction
    from npas_store.tables import Row
    from sqlalchemy import text

    def run() -> Path:
        tables = ", ".join(Row.metadata.tables.keys() - {"home"})  # the folder stays its own
        with transaction() as session:
            session.execute(text(f"TRUNCATE {tables} RESTART IDENTITY"))
        with broker.client() as server:
            server.flushall()
        homes.settle()  # nothing is deleted in a folder that is not the database's
        return services

    return run


@pytest.fixture
def store(empty: Callable[[], Path]) -> Path:
    """The services with no job in Postgres and nothing in Redis; yields the service's folder."""
    return empty()
