"""For tests and benchmarks that run the service: its loops, its processes."""

import socket
import time
from collections.abc import Iterable
from pathlib import Path

from npas_store import database, outbox, reaper
from npas_store.broker import BrokerDownError

from npas_local.processes import Child

_PAUSE = 0.1  # seconds


def any_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tend(children: Iterable[Child]) -> None:
    """Do once what the API's loops and `npas_local.serve` do all the time, then wait a little."""
    for child in children:
        child.tend()
    for chore in (outbox.relay_once, reaper.reap_once):
        try:
            chore()
        except (*database.UNREACHABLE, BrokerDownError):
            continue
    time.sleep(_PAUSE)


def trainings() -> dict[tuple[str, int], int]:
    """Return the processes that train, by the job and the number of their claim."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
        except (OSError, UnicodeDecodeError):
            continue
        if "npas_worker.train_process" in words:
            at = words.index("npas_worker.train_process")
            found[words[at + 1], int(words[at + 2])] = int(entry.name)
    return found


def parent(pid: int) -> int:
    """Return the parent of a process.

    Raises:
        FileNotFoundError: it has ended.
    """
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
