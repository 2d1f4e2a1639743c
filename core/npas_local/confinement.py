"""Work in a process that can do little: limits of memory, time and files, hardly an environment.

What users send, and what may take more than the service has, is done in such a process. It has a
folder of its own and leaves an answer there; whatever becomes of it, the service goes on.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npas_store.database import UNREACHABLE, transaction
from npas_store.settings import settings
from sqlalchemy.orm import Session

from npas_local.processes import die_with

_LOOK_SECONDS = 0.05
_MORE_SECONDS = 10
"""Of a processor, between the signal of a limit and the end."""
_KEPT_VARIABLES = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MALLOC_ARENA_MAX")


class LostError(Exception):
    """The process is gone, for no fault of what it was given; the message says how."""


class StoppedError(Exception):
    """This process is to end, or the work no longer counts."""


class TimeOverError(Exception):
    """The process took longer than it may."""


class RefusedError(Exception):
    """What the process was given cannot be used.

    Attributes:
        reason: a `transitions.reason`.
    """

    def __init__(self, told: dict[str, str]) -> None:
        super().__init__(told["message"])
        self.reason = told


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a process may take.

    Attributes:
        memory_bytes: of its addresses; None: it bounds itself once it has imported what it needs.
        file_bytes: of each file that it writes.
        seconds: of processors, and by the clock.
        files: that are open at once.
    """

    memory_bytes: int | None
    file_bytes: int
    seconds: int
    files: int


def start(
    module: str,
    order: Mapping[str, Any],
    folder: Path,
    limits: Limits,
    become: Callable[[], None] | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a module as a process that ends with this one; what it says goes into a log.

    Args:
        module: its dotted name; it gets the order as its one argument.
        order: JSON.
        folder: of its own.
        limits: that it has from its first step on.
        become: makes it another user; None: it stays who we are.

    Raises:
        LostError: no process can be started.
    """
    parent = os.getpid()

    def enter() -> None:
        _limit(limits)
        if become:
            become()
        die_with(parent)  # last: a change of identity would clear it

    program = [sys.executable, "-P", "-m", module, json.dumps(order)]
    with (folder / "log").open("ab") as output:
        try:
            return subprocess.Popen(
                program,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=_environment(folder),
                start_new_session=True,
                preexec_fn=enter,
            )
        except subprocess.SubprocessError as error:
            raise LostError(f"no process can be started: {error}") from error


def see_to_its_end(
    process: "subprocess.Popen[bytes]", limits: Limits, is_wanted: Callable[[], bool]
) -> None:
    """Wait for a process; when this returns or raises, it and all that it started are gone.

    Args:
        process: from `start`.
        limits: the same as there.
        is_wanted: asked again and again; it may raise, too.

    Raises:
        StoppedError: it is not wanted any more.
        TimeOverError: by the clock.
    """
    deadline = time.monotonic() + limits.seconds
    try:
        while process.poll() is None:
            if not is_wanted():
                raise StoppedError
            if time.monotonic() > deadline:
                raise TimeOverError
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with all that it may have started
        process.wait()


def last_words(folder: Path) -> str:
    """Return the last line of a process's log."""
    words = (folder / "log").read_text(errors="replace").strip().splitlines()
    return words[-1][:300] if words else "without a word"


@contextmanager
def lease_kept(renew: Callable[[Session], bool]) -> Iterator[threading.Event]:
    """Keep a lease for the length of the block; gives whether the work still counts.

    Args:
        renew: keeps it for another while, and returns whether it counts.
    """
    counts, over = threading.Event(), threading.Event()
    counts.set()

    def go_on() -> None:
        while not over.wait(settings().lease_seconds / 3):
            with contextlib.suppress(*UNREACHABLE), transaction() as session:
                if not renew(session):
                    counts.clear()

    thread = threading.Thread(target=go_on, name="lease", daemon=True)
    thread.start()
    try:
        yield counts
    finally:
        over.set()
        thread.join()


def _limit(limits: Limits) -> None:
    """Bound what the calling process, and all that it starts, may take."""
    seconds = limits.seconds
    memory = resource.RLIM_INFINITY if limits.memory_bytes is None else limits.memory_bytes
    for kind, most, hard in (
        (resource.RLIMIT_AS, memory, memory),
        (resource.RLIMIT_CPU, seconds, seconds + _MORE_SECONDS),
        (resource.RLIMIT_FSIZE, limits.file_bytes, limits.file_bytes),
        (resource.RLIMIT_NOFILE, limits.files, limits.files),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        _, allowed = resource.getrlimit(kind)
        if allowed != resource.RLIM_INFINITY:
            most, hard = min(most, allowed), min(hard, allowed)
        resource.setrlimit(kind, (most, hard))


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {
        **kept,
        **dict.fromkeys(_THREADS, "1"),
        **dict.fromkeys(("HOME", "TMPDIR"), str(folder)),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
