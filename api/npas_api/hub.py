"""What is new of the jobs that are watched, asked once for all who watch.

One loop a process asks Postgres for all watched jobs in one statement, and wakes who waits for
those that changed. A watcher keeps no more than its place: the newest events of a job are kept
once for all its watchers, and whoever is further behind reads the table.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from fastapi.sse import format_sse_event
from npas_store import events, sightings
from npas_store.database import UNREACHABLE, autocommitting
from npas_store.sightings import MOST, SeenEvent, Sighting
from npas_store.states import is_terminal
from npas_store.tables import Event
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from npas_api import dependencies, schemas

POLL_SECONDS = 0.25
LINGER_SECONDS = 5.0
"""So long a job is still looked at after its last watcher left: clients come back."""
MAX_RECENT_BYTES = 64 * 1024
"""Of the newest events of one job; at most `sightings.MOST` of them."""
READERS = 2
"""Watchers who read the table at once."""
TURNS = 8
"""Watchers who are served before everybody else's requests have their turn again."""

_AWAY = (*UNREACHABLE, PoolTimeoutError)

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """An event as it is sent."""

    seq: int
    type: str
    content: bytes

    @classmethod
    def of(cls, event: Event | SeenEvent) -> "Frame":
        """Return the frame of an event."""
        text = schemas.Event.model_validate(event).model_dump_json()
        content = format_sse_event(data_str=text, id=str(event.seq))
        return cls(seq=event.seq, type=event.type, content=content)


class Watched:
    """A job that is watched, and what its watchers share.

    Attributes:
        job_id: of the job.
        state: when it was last looked at.
        last: number of its newest event.
        is_lost: it was deleted, or Postgres is away; nothing will come here any more.
        is_deleted: the first of these.
        changed: set when any of these changes, and replaced by a new one.
    """

    def __init__(self, job_id: str) -> None:
        self.job_id, self.state, self.last = job_id, "", 0
        self.is_lost = self.is_deleted = False
        self.changed = asyncio.Event()
        self.watchers, self.left_at = 0, time.monotonic()
        self._recent: deque[Frame] = deque()
        self._bytes = 0

    @property
    def has_ended(self) -> bool:
        """Whether no event will follow the last one."""
        return is_terminal(self.state)

    def update(self, seen: Sighting) -> None:
        """Take in what is new; wake the watchers if anything is."""
        is_new = (seen.state, seen.last) != (self.state, self.last)
        if seen.events and seen.events[0].seq != self.last + 1:
            self._recent.clear()  # more came than a sighting holds: who is behind reads the table
            self._bytes = 0
        for event in seen.events:
            self._recent.append(Frame.of(event))
            self._bytes += len(self._recent[-1].content)
        while len(self._recent) > MOST or self._bytes > MAX_RECENT_BYTES:
            self._bytes -= len(self._recent.popleft().content)
        self.state, self.last = seen.state, seen.last
        if is_new:
            self.wake()

    def recent(self, seq: int) -> list[Frame] | None:
        """Return the events after a number; None where they are not all here."""
        if seq >= self.last:
            return []
        if not self._recent or seq + 1 < self._recent[0].seq:
            return None
        return list(islice(self._recent, seq + 1 - self._recent[0].seq, None))

    def lose(self, *, is_deleted: bool) -> None:
        """Tell the watchers that nothing will come here any more."""
        self.is_lost, self.is_deleted = True, is_deleted
        self.wake()

    def wake(self) -> None:
        """Have all who wait look again."""
        self.changed.set()
        self.changed = asyncio.Event()


class Hub:
    """Looks at all jobs that are watched; belongs to one event loop, from `start` to `stop`."""

    def __init__(self) -> None:
        self.is_closing = False
        self._watched: dict[str, Watched] = {}
        self._asked: dict[str, asyncio.Future[Watched | Exception]] = {}
        self._called = asyncio.Event()
        self._turns = asyncio.Semaphore(TURNS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._looking: asyncio.Task[None] | None = None
        self._looker = ThreadPoolExecutor(1, "hub")
        self._readers = ThreadPoolExecutor(READERS, "hub-reader")

    def start(self) -> None:
        """Begin to look, as soon as there is somebody to look for."""
        self._loop = asyncio.get_running_loop()
        self._looking = asyncio.create_task(self._look_always())

    def close(self) -> None:
        """Have all streams end; from any thread, or a signal's handler."""
        self.is_closing = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and they with it
                self._loop.call_soon_threadsafe(self._wake_all)

    async def stop(self) -> None:
        """End all streams and look no more."""
        self.is_closing = True
        self._wake_all()
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
        self._looker.shutdown(wait=False)
        self._readers.shutdown(wait=False)

    async def find(self, job_id: str) -> Watched:
        """Return a job as it is now; who asks at the same time shares the answer.

        Raises:
            JobNotFoundError: it is not there.
            OperationalError: Postgres is away.
        """
        if job_id not in self._asked:
            self._asked[job_id] = asyncio.get_running_loop().create_future()
        self._called.set()
        found = await asyncio.shield(self._asked[job_id])
        if isinstance(found, Exception):
            raise found
        return found

    @contextmanager
    def watching(self, watched: Watched) -> Iterator[None]:
        """Keep a job looked at during a block."""
        watched.watchers += 1
        try:
            yield
        finally:
            watched.watchers -= 1
            watched.left_at = time.monotonic()

    async def turn(self) -> None:
        """Wait for a watcher's turn: hundreds wake at once, and none of them waits for I/O."""
        async with self._turns:
            await asyncio.sleep(0)

    async def after(self, watched: Watched, seq: int) -> Sequence[Frame]:
        """Return the next events of a job after a number; none if there are none yet.

        Raises:
            OperationalError: Postgres is away.
        """
        found = watched.recent(seq)
        if found is not None:
            return found
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, _page, watched.job_id, seq)

    def _wake_all(self) -> None:
        self._called.set()
        for watched in self._watched.values():
            watched.wake()

    async def _look_always(self) -> None:
        looked_at = 0.0
        while True:
            pause = POLL_SECONDS - (time.monotonic() - looked_at) if self._watched else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._called.wait()
            self._called.clear()
            asked, self._asked = self._asked, {}
            wanted = {*asked}
            now = time.monotonic()
            if now - looked_at >= POLL_SECONDS:
                looked_at = now
                self._forget(now)
                wanted |= self._watched.keys()
            found = await self._look(wanted) if wanted else {}
            for job_id, future in asked.items():
                if not future.done():
                    future.set_result(found[job_id])

    def _forget(self, now: float) -> None:
        """Let go of what nobody has watched for a while."""
        for job_id, watched in list(self._watched.items()):
            if not watched.watchers and now - watched.left_at > LINGER_SECONDS:
                self._lose({job_id}, is_deleted=False)  # should somebody be about to watch it

    async def _look(self, wanted: Set[str]) -> Mapping[str, Watched | Exception]:
        """Look at some jobs; whatever goes wrong, who waits for them hears of it."""
        known = {job_id: self._last(job_id) for job_id in wanted}
        loop = asyncio.get_running_loop()
        try:
            seen = await loop.run_in_executor(self._looker, _sightings, known)
        except Exception as error:  # a dead loop would leave all streams waiting for ever
            log.warning("streams end, and clients come back: %s", error, exc_info=_odd(error))
            self._lose(wanted, is_deleted=False)
            return dict.fromkeys(wanted, error)
        self._lose(wanted - seen.keys(), is_deleted=True)
        for job_id, sighting in seen.items():
            self._watched.setdefault(job_id, Watched(job_id)).update(sighting)
        return {
            job_id: self._watched.get(job_id) or dependencies.no_job(job_id) for job_id in wanted
        }

    def _last(self, job_id: str) -> int:
        watched = self._watched.get(job_id)
        return 0 if watched is None else watched.last

    def _lose(self, job_ids: Set[str], *, is_deleted: bool) -> None:
        for job_id in job_ids & self._watched.keys():
            self._watched.pop(job_id).lose(is_deleted=is_deleted)


def _odd(error: Exception) -> Exception | None:
    """Return what should be looked into: nothing where Postgres is merely away."""
    return None if isinstance(error, _AWAY) else error


def _sightings(known: Mapping[str, int]) -> dict[str, Sighting]:
    with autocommitting() as session:
        return sightings.look(session, known)


def _page(job_id: str, seq: int) -> list[Frame]:
    with autocommitting() as session:
        return [Frame.of(event) for event in events.after(session, job_id, seq, MOST)]
