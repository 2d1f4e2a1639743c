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
from typing import Any

from npas_local.processes import die_with
from npas_store.settings import settings

from npas_worker.probe import SPEED

_PATIENCE_SECONDS = 300.0
_LEAST_PAUSE = 5.0  # seconds
_LONGEST_PAUSE = 60.0  # seconds

log = logging.getLogger(__name__)

Speed = dict[str, Any]
"""What a probe measured, as `npas_store.estimates` reads it."""


class Proof:
    """What a worker knows of its own health."""

    def __init__(self) -> None:
        """Know nothing yet: `watch` finds out."""
        self.trouble: str | None = "device and folders are not proven yet"
        self.memory_bytes: int | None = None
        self.machine: str | None = None
        self.speed: Speed | None = None
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
        trouble, found = _ask(with_speed=self.speed is None)
        self.is_sick = trouble is not None
        self.trouble = trouble
        if self.is_sick:
            least = max(settings().retry_seconds, _LEAST_PAUSE)
            self._pause = min(self._pause * 2 or least, _LONGEST_PAUSE)
            log.error("this worker stands aside, jobs wait: %s", trouble)
            return
        self.memory_bytes, self.machine = int(found["memory_bytes"]), found.get("machine")
        self.speed, self._pause = found.get("speed", self.speed), 0.0
        self._due.clear()
        log.info("device and folders work, jobs are taken")


def _ask(*, with_speed: bool) -> tuple[str | None, dict[str, Any]]:
    """Return the obstacle to training here, None without one, and what the probe found then."""
    parent = os.getpid()
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "npas_worker.probe", *([SPEED] if with_speed else [])],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_SECONDS,
            preexec_fn=lambda: die_with(parent),
            check=False,
            text=True,
            errors="replace",
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},  # as a training has it
        )
    except subprocess.TimeoutExpired:
        return f"the device did not answer within {_PATIENCE_SECONDS:.0f} s", {}
    except (OSError, subprocess.SubprocessError) as error:
        return f"no process can be started: {error}", {}
    return read_answer(ended)


def read_answer(
    ended: "subprocess.CompletedProcess[str]",
) -> tuple[str | None, dict[str, Any]]:
    """Return the obstacle that a probe found, None without one, and what it found else.

    Drivers write what they like on standard error, and may before the answer on standard output.
    """
    said = _last_line(ended.stdout)
    if ended.returncode != 0:
        code = f"the probe ended with {ended.returncode}"
        return said or ": ".join(filter(None, (code, _last_line(ended.stderr)))), {}
    try:
        found = dict(json.loads(said))
        int(found["memory_bytes"])
    except (ValueError, KeyError, TypeError):
        return f"the probe's answer cannot be read: {said[:200]!r}", {}
    return None, found


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]
