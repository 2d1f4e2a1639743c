"""Settings for a while: environment variables that the settings are read from."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from npas_store import broker, database
from npas_store.settings import settings


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
    database.forget()
    settings.cache_clear()
    broker.app.cache_clear()
