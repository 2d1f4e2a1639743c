"""Writes what a training reports, without ever making it wait.

Reports are kept in memory and written together, twice a second, in one fenced transaction, and
those of a kind that follow each other in one statement. While Postgres is away they are kept, and
the training goes on: nobody else can claim the job then. Once Postgres says that the claim is
over, the process ends at once, so that a GPU is not shared with the new holder; this is asked at
least three times in a lease, whether or not there is news.
"""

import itertools
import logging
import operator
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from npas_store import claims
from npas_store.claims import LeaseLostError
from npas_store.database import transaction
from npas_store.settings import settings
from sqlalchemy.orm import Session

from npas_worker.patience import patiently
from npas_worker.protocol import FENCED

Write = Callable[[Session], object]
WriteAll = Callable[[Session, Sequence[Any]], object]

_PAUSE = 0.5  # seconds between two transactions

log = logging.getLogger(__name__)


class Writer:
    """Writes for one claim. All methods may be called from any thread."""

    def __init__(self, job_id: str, claim_number: int) -> None:
        """Write nothing yet; `start` begins."""
        self._job_id, self._claim_number = job_id, claim_number
        self._writes: list[tuple[WriteAll, Any]] = []
        self._newest: dict[str, Write] = {}
        self._report: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._checked = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def add(self, write: Write) -> None:
        """Have something written, in the order of the calls.

        Args:
            write: is called in a transaction that holds the lease; maybe more than once, but only
                its last call counts.
        """
        self.add_to(_each, write)

    def add_to(self, write_all: WriteAll, item: Any) -> None:
        """Have an item written, in the order of the calls, with those about it of its kind.

        Args:
            write_all: is called with all items that were added to it one after another; as often
                as in `add`.
            item: what it takes.
        """
        with self._lock:
            self._writes.append((write_all, item))

    def replace(self, key: str, write: Write) -> bool:
        """Have something written of which only the newest counts.

        Args:
            key: what it is about.
            write: as in `add`.

        Returns:
            Whether an older one with this key will now never be written.
        """
        with self._lock:
            is_replaced = key in self._newest
            self._newest[key] = write
        return is_replaced

    def report(self, **values: Any) -> None:
        """Set phase, progress and so on; only the newest values are written."""
        with self._lock:
            self._report |= values

    def close(self) -> None:
        """Wait until everything is written, then write no more by itself."""
        self._closing.set()
        self._thread.join()

    def write_now(self, write: Write) -> None:
        """Write something and wait until it is committed, however long Postgres is away.

        Raises:
            LeaseLostError: the claim is over.
        """

        def once() -> None:
            with transaction() as session:
                claims.guard(session, self._job_id, self._claim_number)
                write(session)

        patiently(once)
        self._checked = time.monotonic()

    def _run(self) -> None:
        try:
            while not self._closing.wait(_PAUSE):
                self._flush()
            self._flush()
        except LeaseLostError as error:
            log.warning("%s: this training ends", error)
            os._exit(FENCED)
        except BaseException:
            # Whatever it is, a training that nobody hears of is worth nothing: it is tried again.
            log.exception("cannot write what the training reports")
            os._exit(1)

    def _flush(self) -> None:
        with self._lock:
            writes, self._writes = self._writes, []
            newest, self._newest = self._newest, {}
            report, self._report = self._report, {}
        is_due = time.monotonic() - self._checked > settings().lease_seconds / 3
        writes += [(_each, write) for write in newest.values()]
        if not (writes or report or is_due):
            return

        def everything(session: Session) -> None:
            for write_all, added in itertools.groupby(writes, key=operator.itemgetter(0)):
                write_all(session, [item for _, item in added])
            if report:
                claims.report(session, self._job_id, self._claim_number, report)

        self.write_now(everything)


def _each(session: Session, writes: Sequence[Write]) -> None:
    for write in writes:
        write(session)
