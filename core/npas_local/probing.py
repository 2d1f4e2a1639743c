"""Programs are started again when they die, and ended when they do not answer any more."""

import threading
import time
from collections.abc import Callable, Sequence

from npas_local.processes import Child

START_SECONDS = 120
"""So long a program may take to start."""
_LOOK_SECONDS = 0.2


class Probe:
    """Asks a program now and then whether it answers, and ends one that does not."""

    def __init__(self, child: Child, answers: Callable[[], bool], silent_seconds: float) -> None:
        """Remember that it answers now."""
        self.child, self._answers, self._silent_seconds = child, answers, silent_seconds
        self._asked = self._heard = time.monotonic()

    def started(self) -> None:
        """Give a program that was started the time that a start may take."""
        self._heard = time.monotonic() + START_SECONDS

    def ask(self) -> bool:
        """Ask, if it is time; end the program and return True if it was silent for too long."""
        now = time.monotonic()
        if not self.child.is_alive() or now - self._asked < self._silent_seconds / 4:
            return False
        self._asked = now
        if self._answers():
            self._heard = now
        elif now - self._heard > self._silent_seconds:
            self.child.stop()
            return True
        return False


def watch(
    children: Sequence[Child],
    probes: Sequence[Probe],
    stop: threading.Event,
    say: Callable[[str], object],
) -> None:
    """Look after programs until `stop` is set.

    Args:
        probes: of some of them.
        say: is told what was done, for people.
    """
    while not stop.wait(_LOOK_SECONDS):
        for probe in probes:
            if probe.ask():
                say(f"{probe.child.name} did not answer any more and was ended")
        for child in children:
            if child.tend():
                say(f"{child.name} had ended and was started again")
                for probe in probes:
                    if probe.child is child:
                        probe.started()
