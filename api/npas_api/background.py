"""Chores in threads beside the API: notify workers, take jobs from dead ones, clear up."""

import logging
import threading
from collections.abc import Callable, Sequence

from npas_local.checking import Checker
from npas_local.exporting import Exporter
from npas_store import outbox, reaper, retention, uploads
from npas_store.broker import BrokerDownError
from npas_store.settings import settings
from sqlalchemy.exc import DBAPIError

RELAY_SECONDS = 1.0
CHECK_SECONDS = 1.0
EXPIRE_SECONDS = 60.0
TIDY_SECONDS = 600.0
REST_SECONDS = 0.05
"""From a call to the round that it asks for: each round costs as much as hundreds of messages."""
MAX_PAUSE_SECONDS = 30.0
_SHARE_OF_A_LEASE = 0.1  # how much later than it ran out a lost job may be taken back

log = logging.getLogger(__name__)


class BackgroundLoop:
    """A chore that is done again and again, in a thread, from `start` to `stop`.

    Args:
        chore: does what there is to do now; doing it twice, anywhere, must be harmless.
        seconds: from the end of one round to the next.
        interrupt: ends a round that takes long.
        can_wait: whether it has nothing to do with new jobs, and is not woken for them.
    """

    def __init__(
        self,
        name: str,
        chore: Callable[[], object],
        *,
        seconds: float,
        interrupt: Callable[[], object] = lambda: None,
        can_wait: bool = False,
    ) -> None:
        self.name, self._chore, self._seconds = name, chore, seconds
        self._interrupt, self._can_wait = interrupt, can_wait
        self._stopping = threading.Event()
        self._called = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Do the first round now."""
        self._thread.start()

    def wake(self) -> None:
        """Do the next round soon: there is something new; what comes meanwhile is in it, too."""
        if not self._can_wait:
            self._called.set()

    def stop(self) -> None:
        """End after the round it is in."""
        self._stopping.set()
        self._called.set()
        self._interrupt()
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
            if self._called.wait(pause):
                self._stopping.wait(REST_SECONDS)


def relay() -> BackgroundLoop:
    """Return the loop that notifies the workers for new jobs."""
    return BackgroundLoop("outbox", outbox.send_due, seconds=RELAY_SECONDS)


def announcing() -> BackgroundLoop:
    """Return the loop that notifies them again for jobs that nobody took."""
    return BackgroundLoop("announcer", outbox.announce_again, seconds=RELAY_SECONDS, can_wait=True)


def reaping() -> BackgroundLoop:
    """Return the loop that takes jobs back from workers that fell silent."""
    seconds = settings().lease_seconds * _SHARE_OF_A_LEASE
    return BackgroundLoop("reaper", reaper.reap_once, seconds=seconds, can_wait=True)


def checking() -> BackgroundLoop:
    """Return the loop that checks the datasets that users sent."""
    checker = Checker()
    return BackgroundLoop(
        "checks", checker.check_all, seconds=CHECK_SECONDS, interrupt=checker.stop
    )


def exporting() -> BackgroundLoop:
    """Return the loop that makes the exports that users asked for."""
    exporter = Exporter()
    return BackgroundLoop(
        "exports", exporter.make_all, seconds=CHECK_SECONDS, interrupt=exporter.stop
    )


def expiring() -> BackgroundLoop:
    """Return the loop that gives up uploads that are not whole in time."""
    return BackgroundLoop("uploads", uploads.expire_once, seconds=EXPIRE_SECONDS, can_wait=True)


def tidying() -> BackgroundLoop:
    """Return the loop that deletes what nobody wants any more."""
    return BackgroundLoop("retention", retention.tidy_once, seconds=TIDY_SECONDS, can_wait=True)


CHORES: Sequence[Callable[[], BackgroundLoop]] = (
    relay,
    announcing,
    reaping,
    checking,
    exporting,
    expiring,
    tidying,
)
