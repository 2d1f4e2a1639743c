"""Plans for requests, made in other processes: the API itself imports no torch.

A plan is seconds of pure Python over a network's layers, and can be minutes. In the API it would
hold up everything else and could not be stopped; so a process beside it has the library, and
forks for every question (docs/decisions/0015). A fork ends with its time, with its memory, or with
the request that waits for it.
"""

import asyncio
import contextlib
import functools
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from fastapi.concurrency import run_in_threadpool
from npas.jobs.workload import Workload
from npas.spec import JobSpec, PlanRequest
from npas.spec.export import ExportSpec
from npas_local.processes import die_with
from npas_store import blobs, datasets, workers
from npas_store.database import autocommitting
from npas_store.settings import settings
from starlette.requests import ClientDisconnect, Request

from npas_api import planner_refusals
from npas_api.messages import HELLO, LENGTH_BYTES, framed, num_bytes
from npas_api.plan_cache import KeptPlan, PlanCache, stamp

AT_ONCE = 2
MAX_WAITING = 200
PATIENCE_SECONDS = 20
START_SECONDS = 120
LATE_SECONDS = 10
"""A fork ends itself in time; where nothing is heard for so much longer, it is stuck."""
_PAUSE_SECONDS = 1.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""One thread each: a process that forks must have no others."""

log = logging.getLogger(__name__)

Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """What was found of a job.

    Attributes:
        plan: as JSON.
        work: what it will compute and keep.
    """

    plan: str
    work: Workload

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Self:
        """Return it from the answer of the process that plans."""
        return cls(plan=found["plan"], work=Workload.of(found["work"]))


class Planner:
    """Plans on behalf of requests; belongs to one event loop, from `start` to `stop`."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._ready = asyncio.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._known: dict[str, Any] = {}
        self._plans = PlanCache()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether its process has imported everything and planned something small."""
        return self._ready.is_set()

    def start(self) -> None:
        """Start the process, and again whenever it ends or does not answer."""
        self._keeper = asyncio.create_task(self._keep(settings().silent_seconds))

    async def stop(self) -> None:
        """End the process."""
        assert self._keeper is not None
        self._keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeper

    async def plan(self, request: PlanRequest) -> str:
        """Return the plan of a request, as JSON.

        Raises:
            ApiError: the library refuses the request; the pointers are into it.
            DataError: its dataset is one that a user sent, and cannot be used.
            PlanTooLargeError: it takes too much time or memory.
            BusyError: too many plans are asked for at once.
            PlannerUnavailableError: the process that plans was ended, or does not answer.
        """
        if request.dataset is not None:
            await run_in_threadpool(datasets.require_ready, request.dataset.name)
        asked = request.model_dump_json(include=set(PlanRequest.model_fields))
        return str(await self._ask("plan", asked, request))

    async def plan_job(self, spec: JobSpec) -> Planned:
        """Plan and weigh a job that can be done with the data that are here; see `plan`.

        One that was made a moment ago is not made again, see `kept`.
        """
        await run_in_threadpool(datasets.require_ready, spec.dataset.name)
        await self._started()
        limit = await run_in_threadpool(largest_memory)
        before = stamp(self._folder())

        def known() -> dict[str, Any] | None:
            kept = None if spec.start else self._plans.find(spec, self._folder())
            is_right = kept is not None and kept.memory_bytes == limit
            return {"kept": kept} if is_right else None

        asked = spec.model_dump_json()
        start = str(blobs.path(spec.start.checkpoint)) if spec.start else None
        answer = await self._ask("job", asked, spec, memory_bytes=limit, start=start, known=known)
        if kept := answer.get("kept"):
            return Planned(plan=kept.document, work=kept.work)
        planned = Planned.of(answer)
        if spec.start is None:
            self._plans.keep(spec, planned.plan, planned.work, memory_bytes=limit, before=before)
        return planned

    def kept(self, spec: JobSpec) -> KeptPlan | None:
        """Return the plan of a job that was asked for before, if the data are still the same.

        It may be used while `largest_memory` is what it was made with. A dataset that a user sent,
        or a file to start from, has to be looked at each time, which is left to `plan_job`.
        """
        is_looked_at = spec.dataset.name.startswith(datasets.PREFIX) or spec.start is not None
        if is_looked_at or not self.is_ready:
            return None
        return self._plans.find(spec, self._folder())

    def _folder(self) -> Path:
        """Return the folder of the datasets."""
        return settings().data_folder or Path(self._known["folder"])

    async def weigh(self, spec: JobSpec) -> Planned:
        """Plan and weigh a job whatever data and devices are here; see `plan`.

        Where its networks join those of a file, that is read.
        """
        is_joining = spec.start is not None and spec.start.join
        start = str(blobs.path(spec.start.checkpoint)) if spec.start and is_joining else None
        return Planned.of(await self._ask("weight", spec.model_dump_json(), spec, start=start))

    async def offered(self, request: PlanRequest) -> list[dict[str, Any]]:
        """Return the sizes that a request offers, see `npas.planning.offers`; see `plan`."""
        if request.dataset is not None:
            await run_in_threadpool(datasets.require_ready, request.dataset.name)
        asked = request.model_dump_json(include=set(PlanRequest.model_fields))
        found: list[dict[str, Any]] = await self._ask("offered", asked, request)
        return found

    async def picture(self, title: str, marks: Sequence[Mapping[str, Any]]) -> str:
        """Return the picture of a frontier, see `npas.delivery.frontier_picture`; see `plan`."""
        asked = json.dumps({"title": title, "marks": list(marks)})
        return str(await self._ask("frontier", asked))

    async def check_export(self, spec: ExportSpec, plan: str) -> tuple[ExportSpec, bool]:
        """Return an export by the name of its format, and whether it keeps what is shared.

        Args:
            spec: what is asked for.
            plan: of the networks, as JSON.

        Raises:
            ApiError: it is known that it cannot be made; see `npas.delivery.exporting.check`.
            BusyError: too many plans are asked for at once.
            PlannerUnavailableError: the process that knows was ended, or does not answer.
        """
        asked = json.dumps({"spec": spec.model_dump(mode="json"), "plan": plan})
        found = await self._ask("export", asked)
        return spec.model_copy(update={"to": found["to"]}), bool(found["keeps_sharing"])

    async def catalogue(self, kind: str) -> list[dict[str, Any]]:
        """Return the catalogue of a kind: "architectures", "methods" or "datasets"."""
        if kind == "datasets":
            found: list[dict[str, Any]] = await self._ask(kind)
            return found
        await self._started()
        return list(self._known[kind])

    async def _ask(
        self,
        question: str,
        asked: str = "",
        request: PlanRequest | None = None,
        *,
        memory_bytes: int | None = None,
        start: str | None = None,
        known: Callable[[], Any] = lambda: None,
    ) -> Any:
        """Ask the process, when it is our turn; by then somebody else's answer may do."""
        folder = settings().data_folder
        message = {
            "question": question,
            "request": asked,
            "folder": str(folder) if folder else None,
            "seconds": settings().plan_seconds,
            "megabytes": settings().plan_megabytes,
            "memory_bytes": memory_bytes,
            "start": start,
        }
        await self._started()
        async with self._slot():
            if (found := known()) is not None:
                return found
            answer = await self._answer(message)
        if "found" in answer:
            return answer["found"]
        raise planner_refusals.refusal(answer, request)

    async def _started(self) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            raise planner_refusals.unavailable("is not ready") from None

    async def _answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Have a fork answer; however this ends, the fork ends with it."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            try:
                assert self._control is not None
                socket.send_fds(self._control, [b"?"], [theirs.fileno()])
                theirs.close()  # so that the fork's end is the end of what can be read
                async with asyncio.timeout(settings().plan_seconds + LATE_SECONDS):
                    return await _exchanged(ours, message)
            except TimeoutError:
                self._end()
                raise planner_refusals.unavailable("did not answer") from None
            except (asyncio.IncompleteReadError, OSError):
                # A fork says which limit it met: this one was ended, alone or with its process.
                raise planner_refusals.unavailable("was ended") from None

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self._waiting >= MAX_WAITING:
            raise planner_refusals.busy()
        self._waiting += 1
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            raise planner_refusals.busy() from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()

    async def _keep(self, silent_seconds: float) -> None:
        """Keep a process running until this task is cancelled."""
        while True:
            why = "it had ended"
            try:
                ours, theirs = socket.socketpair()
                with ours, theirs:
                    self._process = _process(theirs)
                    theirs.close()
                    await self._watch(ours, silent_seconds)
            except TimeoutError:
                why = "it did not answer"
            except asyncio.IncompleteReadError:
                pass
            except OSError as error:  # also: no processes or files are left for it
                why = str(error)
            finally:
                self._end()
            log.warning("the planner is started again: %s", why)
            await asyncio.sleep(_PAUSE_SECONDS)

    def _end(self) -> None:
        """End the process and its forks, the frozen ones too; it is started again."""
        self._ready.clear()
        self._plans = PlanCache()  # it may come back with other code
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    async def _watch(self, control: socket.socket, silent_seconds: float) -> None:
        """Say hello to the process at the other end of a socket, again and again.

        Raises:
            TimeoutError: it does not answer.
            IncompleteReadError, OSError: it has ended.
        """
        reader, writer = await asyncio.open_unix_connection(sock=control)
        try:
            async with asyncio.timeout(START_SECONDS):
                self._known = await _received(reader)
            self._control = control
            self._ready.set()
            while True:
                writer.write(HELLO)
                async with asyncio.timeout(silent_seconds):
                    await reader.readexactly(1)
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            self._control = None
            writer.transport.abort()


def _process(control: socket.socket) -> subprocess.Popen[bytes]:
    """Start the process that plans, the leader of a group of its own, its forks in it."""
    return subprocess.Popen(
        [sys.executable, "-m", "npas_api.planner_process", str(control.fileno())],
        pass_fds=[control.fileno()],
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in a terminal is for the API
        preexec_fn=functools.partial(die_with, os.getpid()),
        env={
            **os.environ,
            **dict.fromkeys(_THREADS, "1"),
            datasets.LIBRARY_FOLDER: str(settings().datasets),
        },
    )


def largest_memory() -> int | None:
    """Return the bytes of memory of the workers' largest device; None: nothing is known."""
    with autocommitting() as session:
        return workers.largest_memory_bytes(session)


async def while_awaited(request: Request, work: Coroutine[Any, Any, Found]) -> Found:
    """Return the result of some work; end it when the client goes away.

    Args:
        request: whose body has been read.

    Raises:
        ClientDisconnect: nobody waits for the answer any more.
    """
    task, leaving = asyncio.create_task(work), asyncio.create_task(_left(request))
    try:
        await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        leaving.cancel()
        task.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _exchanged(connection: socket.socket, message: Mapping[str, Any]) -> dict[str, Any]:
    """Send a question, return the answer."""
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    try:
        writer.write(framed(message))
        return await _received(reader)
    finally:
        writer.transport.abort()


async def _received(reader: asyncio.StreamReader) -> dict[str, Any]:
    length = num_bytes(await reader.readexactly(LENGTH_BYTES))
    found: dict[str, Any] = json.loads(await reader.readexactly(length))
    return found
