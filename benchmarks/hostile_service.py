"""The service that hostile uploads are sent to: its settings, its APIs, the memory they use."""

import functools
import itertools
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from npas_local.processes import Child, Program
from npas_local.testing import any_port
from npas_store.settings import settings

SETTINGS = {
    "NPAS_CHECK_MEGABYTES": "512",
    "NPAS_CHECK_SECONDS": "60",
    "NPAS_DATASET_MEGABYTES": "64",
    "NPAS_MAX_UPLOADS": "64",
    "NPAS_RETRY_SECONDS": "0.1",
}
CAPS = {"API": 320, "planner": 1024, "check": 512}
"""Megabytes that a process of each kind may use at most."""

_WORDS = {"npas_api": "API", "npas_api.planner_process": "planner"}
_WORDS |= {"npas_local.check_process": "check"}
_LOOK_SECONDS = 0.02


@dataclass(kw_only=True, slots=True)
class Peaks:
    """The most memory that a process of each kind had in use, in bytes; see `watched`."""

    most: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def look(self) -> None:
        """Look at all processes of the service."""
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, UnicodeDecodeError, IndexError):
                words = (entry / "cmdline").read_bytes().decode().split("\0")
                kinds = [_WORDS[word] for word in words if word in _WORDS]
                if kinds:
                    status = (entry / "status").read_text()
                    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
                    self.most[kinds[0]] = max(self.most[kinds[0]], peak)


@contextmanager
def watched() -> Iterator[Peaks]:
    """Watch the memory of all processes of the service for the length of the block."""
    peaks, over = Peaks(), threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_SECONDS):
            peaks.look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()


@contextmanager
def serving(number: int) -> Iterator[list[str]]:
    """Run some APIs for the length of the block; yields their addresses."""
    ports = [any_port() for _ in range(number)]
    children = [
        Child(
            Program(
                f"api-{port}",
                [sys.executable, "-m", "npas_api"],
                log=settings().home / "logs" / f"api-{port}.log",
                environment={**os.environ, "NPAS_PORT": str(port)},
            )
        )
        for port in ports
    ]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    try:
        for child, url in zip(children, urls, strict=True):
            child.start()
            child.wait_until(functools.partial(_answers, url), seconds=300)
        yield urls
    finally:
        for child in children:
            child.stop()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez").is_success
    except httpx.TransportError:
        return False


def files(home: Path) -> set[str]:
    """Return the files of datasets below a home, and folders of uploads."""
    folders = (home / name for name in ("uploads", "datasets", "blobs"))
    found = itertools.chain.from_iterable(folder.rglob("*") for folder in folders)
    return {str(path) for path in found if path.is_file() or path.parent.name == "uploads"}
