"""The database of a home at hand, whether its service runs or not."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from npas_store import migrate
from npas_store.database import forget
from npas_store.homes import HomeError
from npas_store.settings import Settings, settings

from npas_local import embedded
from npas_local.lock import HomeInUseError, locked


@contextmanager
def attached(found: Settings) -> Iterator[None]:
    """Have the store use the database of a home for the length of the block.

    That is the one that NPAS_DATABASE_URL names; else that of the service that runs there; else it
    is started for so long, and the service cannot be started meanwhile.

    Raises:
        HomeError: there is no service in this folder.
        StartError: the database does not come up.
        SchemaError: it belongs to another version.
    """
    if found.database_url:
        migrate.require()
        yield
        return
    if not (found.home / "postgres" / "cluster").is_dir():
        raise HomeError(
            f"NPAS_HOME: there is no database in {found.home}; choose the folder of a service, "
            "or set NPAS_DATABASE_URL"
        )
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(found.home))
            servers = stack.enter_context(embedded.running(found.home, redis=False))
            url = servers.database_url
        except HomeInUseError:
            url = embedded.url_of(found.home)
        with using(url, found):
            migrate.require()
            yield


@contextmanager
def using(database_url: str, found: Settings) -> Iterator[None]:
    """Have the store use a database for the length of the block."""
    told = {"NPAS_DATABASE_URL": database_url, "NPAS_HOME": str(found.home)}
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    _read_anew()
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
        _read_anew()


def _read_anew() -> None:
    forget()
    settings.cache_clear()
