"""The database of a home at hand, whether its service runs or not."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from npas_store import migrate
from npas_store.homes import HomeError
from npas_store.settings import Settings

from npas_local import embedded
from npas_local.environment import environment
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
        with environment(NPAS_DATABASE_URL=url, NPAS_HOME=str(found.home)):
            migrate.require()
            yield
