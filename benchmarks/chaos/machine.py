"""What the storm does to disk and processes of its machine, and how it looks for remains."""

import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DISK_BYTES = 640 * 2**20
_TRIES = 100


class Disk:
    """A file system of its own for the service's folder, so that it can be full or read-only.

    Attributes:
        folder: where it is mounted.
        is_own: whether it is one: mounting takes rights that not everybody has.
    """

    def __init__(self, folder: Path) -> None:
        """Mount it, if that is allowed."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        size = f"size={DISK_BYTES},mode=0755"
        self.is_own = _mount("-t", "tmpfs", "-o", size, "tmpfs", folder)

    def unmount(self) -> None:
        """Take it away again, with everything on it."""
        if self.is_own:
            subprocess.run(["umount", "--lazy", self.folder], check=True)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Leave no room on it."""
        filler = self.folder / "filler"
        try:
            with filler.open("wb") as file:
                self._fill(file.fileno())
            yield
        finally:
            filler.unlink(missing_ok=True)

    def _fill(self, file: int) -> None:
        """Give a file all the room that there is, however others take some of it meanwhile."""
        taken = 0
        for _ in range(_TRIES):
            if (free := shutil.disk_usage(self.folder).free) == 0:
                return
            try:
                os.posix_fallocate(file, taken, free)
                taken += free
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    @contextmanager
    def read_only(self, name: str) -> Iterator[None]:
        """Let nothing be written into one of its folders; files that are open stay open."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        assert _mount("--bind", folder, folder)
        try:
            assert _mount("-o", "remount,ro,bind", folder)
            yield
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def _mount(*arguments: str | Path) -> bool:
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    return done.returncode == 0


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Let a process stand still.

    Raises:
        ProcessLookupError: there is none.
    """
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def processes_of(home: Path) -> dict[int, str]:
    """Return the command lines of all other processes that have this folder as NPAS_HOME."""
    wanted = f"NPAS_HOME={home}".encode()
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(entry.name)] = words.decode(errors="replace").strip()
        except OSError:  # it ended meanwhile
            continue
    found.pop(os.getpid(), None)
    return {pid: command for pid, command in found.items() if command}
