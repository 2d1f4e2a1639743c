"""A home is used by one service at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from npas_store import homes

RESTORING = "restoring"
"""Folder in a home that a restore has not finished."""


class HomeInUseError(Exception):
    """Another process runs the service on this folder."""


@contextmanager
def locked(home: Path, *, is_restore: bool = False) -> Iterator[None]:
    """Hold the folder; the kernel lets go of it when this process ends, however it ends.

    Raises:
        HomeInUseError: another process holds it.
        homes.HomeError: it cannot be written, or waits for the end of a restore.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "lock").open("a+")
    except OSError as error:
        raise homes.unwritable(error) from error
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise HomeInUseError(
                f"process {file.read().strip() or '?'} already runs npas on {home}; "
                "stop it, or choose another folder (NPAS_HOME)"
            ) from None
        if (home / RESTORING).exists() and not is_restore:
            raise homes.HomeError(
                f"NPAS_HOME: a restore into {home} was cut off; do it again (npas restore FILE), "
                "or choose another folder"
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
