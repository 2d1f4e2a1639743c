"""Whether this worker could run a training: asked before its first claim and after each loss.

A worker that is not fit stands aside: it claims nothing, says why, and asks again from time to
time. Otherwise it would take job after job and lose each within seconds.
"""

import json
import logging
import os
import subprocess
import sys
import threading
import time

from npas_store.children import die_with
from npas_store.settings import settings

_PATIENCE_SECONDS = 300.0
_LEAST_PAUSE = 5.0  # seconds
_LONGEST_PAUSE = 60.0  # seconds

log = logging.getLogger(__name__)


class Proof:
    """What a worker knows of its own health."""

    def __init__(self) -> None:
        """Know nothing yet: `watch` finds out."""
        self.trouble: str | None = "device and folders are not proven yet"
        self.memory_bytes: int | None = None
        self.is_sick = False
        self._due = threading.Event()
        self._due.set()
        self._pause = 0.0

    @property
    def is_fit(self) -> bool:
        """Tell whether a training could run here, as far as was found out since it was asked."""
        return not self._due.is_set()

    def demand(self) -> None:
        """Have it found out anew before the next claim."""
        self._due.set()

    def watch(self) -> None:
        """Find out whenever that is due, for ever: for a thread of its own."""
        while True:
            self._due.wait()
            self.find_out()
            time.sleep(self._pause)

    def find_out(self) -> None:
        """Try everything that a training needs, in a process of its own; takes seconds."""
        code, said = _ask()
        self.is_sick = code != 0
        if self.is_sick:
            self.trouble = said
            least = max(settings().retry_seconds, _LEAST_PAUSE)
            self._pause = min(self._pause * 2 or least, _LONGEST_PAUSE)
            log.error("this worker stands aside, jobs wait: %s", said)
            return
        self.trouble, self.memory_bytes, self._pause = None, json.loads(said)["memory_bytes"], 0.0
        self._due.clear()
        log.info("device and folders work, jobs are taken")


def _ask() -> tuple[int, str]:
    """Return the exit code of the probe and its last line."""
    parent = os.getpid()
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "npas_worker.probe"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_PATIENCE_SECONDS,
            preexec_fn=lambda: die_with(parent),
            check=False,
            text=True,
        )
    except subprocess.TimeoutExpired:
        return 1, f"the device did not answer within {_PATIENCE_SECONDS:.0f} s"
    except (OSError, subprocess.SubprocessError) as error:
        return 1, f"no process can be started: {error}"
    lines = ended.stdout.strip().splitlines()
    return ended.returncode, lines[-1] if lines else f"the probe ended with {ended.returncode}"
