"""Chores in threads beside the API: notify the workers, take jobs from dead ones."""

import logging
import threading
from collections.abc import Callable, Sequence

from npas_store import outbox, reaper
from npas_store.broker import BrokerDownError
from npas_store.settings import settings
from sqlalchemy.exc import DBAPIError

RELAY_SECONDS = 1.0
MAX_PAUSE_SECONDS = 30.0

log = logging.getLogger(__name__)


class BackgroundLoop:
    """A chore that is done again and again, in a thread, from `start` to `stop`.

    Args:
        chore: does what there is to do now; doing it twice, anywhere, must be harmless.
        seconds: from the end of one round to the next.
    """

    def __init__(self, name: str, chore: Callable[[], object], *, seconds: float) -> None:
        self.name, self._chore, self._seconds = name, chore, seconds
        self._stopping = threading.Event()
        self._called = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Do the first round now."""
        self._thread.start()

    def wake(self) -> None:
        """Do the next round at once: there is something new."""
        self._called.set()

    def stop(self) -> None:
        """End after the round it is in."""
        self._stopping.set()
        self._called.set()
        self._thread.join()

    def _run(self) -> None:
        pause = self._seconds
        while not self._stopping.is_set():
            self._called.clear()
            try:
                self._chore()
                pause = self._seconds
            except (DBAPIError, BrokerDownError) as error:
                # Postgres or Redis is away; everything waits in Postgres until they are back.
                log.warning("%s waits: %s", self.name, error)
                pause = min(pause * 2, MAX_PAUSE_SECONDS)
            except Exception:  # a dead loop would stop all jobs without anybody noticing
                log.exception("%s failed", self.name)
                pause = min(pause * 2, MAX_PAUSE_SECONDS)
            if not self._stopping.is_set():
                self._called.wait(pause)


def relay() -> BackgroundLoop:
    """Return the loop that notifies the workers for new jobs."""
    return BackgroundLoop("outbox", outbox.relay_once, seconds=RELAY_SECONDS)


def reaping() -> BackgroundLoop:
    """Return the loop that takes jobs back from workers that fell silent."""
    return BackgroundLoop("reaper", reaper.reap_once, seconds=settings().lease_seconds / 2)


CHORES: Sequence[Callable[[], BackgroundLoop]] = (relay, reaping)
