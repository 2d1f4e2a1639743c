"""A service of one's own, for as long as a `with` block: started below us, ended with us."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from npas_client.client import Client

START_SECONDS = 90.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.2
_PR_SET_PDEATHSIG = 1


class LocalServiceError(Exception):
    """The service did not start, or it ended by itself; the message shows the end of its log."""


class LocalService:
    """The whole service (Postgres, Redis, API, worker) in a folder of its own, on a free port.

    Args:
        home: where it keeps everything; may be missing.
        log: the file that gets its output.
        threads: CPU threads of a training; small networks do not gain from more than one, and
            lose much where other programs keep the cores busy.
    """

    def __init__(self, home: Path, log: Path, *, threads: int = 1) -> None:
        self.home, self.log, self.threads = home, log, threads
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        # Settings of a service that the user runs elsewhere must not reach this one.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("NPAS_")}
        environment |= {
            "NPAS_HOME": str(self.home),
            "NPAS_PORT": str(port),
            "NPAS_THREADS": str(self.threads),
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "npas_local.serve"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours; we end it in order
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def check(self) -> None:
        """Raise if the service has ended by itself.

        Raises:
            LocalServiceError: it has.
        """
        assert self._process is not None
        status = self._process.poll()
        if status is not None:
            raise LocalServiceError(f"the service ended with status {status}; {self._log_end()}")

    def stop(self) -> None:
        """End the service and everything it started."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:  # its children die with it
            self._process.kill()
            self._process.wait()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        with Client(self.url, timeout=5.0) as client:
            while not client.is_ready():
                self.check()
                if time.monotonic() > deadline:
                    raise LocalServiceError(
                        f"the service was not ready after {START_SECONDS:g} s; {self._log_end()}"
                    )
                time.sleep(POLL_SECONDS)

    def _log_end(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        return "\n  ".join([f"the end of {self.log}:", *lines])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> None:
    """In the child, before it starts: have it ended when we die, however we die."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
