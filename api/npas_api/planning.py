"""Plans for requests: in a thread, only a few at a time, the last ones remembered.

Planning is pure Python over meta tensors. It can take a second for a large network and does not
share the interpreter well; without a limit a burst of plans would starve everything else.
"""

import asyncio
import functools
import importlib
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import TYPE_CHECKING, cast

from fastapi.concurrency import run_in_threadpool
from npas.errors import NpasError
from npas.spec import JobSpec, PlanRequest
from npas_store import workers
from npas_store.database import reading
from npas_store.settings import settings

from npas_api import errors

if TYPE_CHECKING:
    from npas.plans import Plan

AT_ONCE = 2
MAX_WAITING = 200
PATIENCE_SECONDS = 20
_REMEMBERED = 64


class Planner:
    """Plans on behalf of requests; belongs to one event loop."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def plan(self, request: PlanRequest) -> "Plan":
        """Return the plan of a request.

        Raises:
            NpasError: the library refuses the request; `field` points into it.
            BusyError: too many plans are asked for at once.
        """
        asked = request.model_dump_json(include=set(PlanRequest.model_fields))
        async with self._slot():
            try:
                return await run_in_threadpool(_plan, request, asked)
            except NpasError as error:
                error.field = _pointer(error.field, request)
                raise

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self._waiting >= MAX_WAITING:
            raise _busy()
        self._waiting += 1
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            raise _busy() from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()


def admit(spec: JobSpec) -> None:
    """Check that a job can be done with what is here, before anybody waits for a worker.

    Raises:
        TooLargeError: it needs more memory than any worker has.
        DataError: its dataset or its teacher is not in the data folder; the message says more.
        InvalidSpecError: its training does not suit its dataset.
    """
    with reading() as session:
        limit = workers.largest_memory_bytes(session)
    library = importlib.import_module("npas.admission")
    library.admit(spec, settings().data_folder, memory_bytes=limit)


def warm_up() -> None:
    """Import what planning needs, in a thread of its own: torch takes seconds, the first time."""
    threading.Thread(target=_library, name="warm-up", daemon=True).start()


def _pointer(field: str, request: PlanRequest) -> str:
    """Return the JSON pointer into the request for what the library blames.

    It knows one architecture at a time, not which of several networks it came from.
    """
    is_one_of_many = request.networks is not None and field.startswith("/architecture")
    return "/networks" if is_one_of_many else field


def _busy() -> errors.BusyError:
    return errors.BusyError(headers={"Retry-After": "5"})


def _plan(request: PlanRequest, asked: str) -> "Plan":
    """Return the plan of a request for the dataset as it lies in the folder now."""
    dataset, sizes = request.dataset, None
    if dataset is not None:
        data = importlib.import_module("npas.data")
        sizes = data.facts(dataset, settings().data_folder).sizes
    return _planned(asked, sizes)


@functools.lru_cache(maxsize=_REMEMBERED)
def _planned(asked: str, _sizes: tuple[int, int, int] | None) -> "Plan":
    # A dry run is usually followed by the job itself; the same request has the same plan.
    request = PlanRequest.model_validate_json(asked)
    made = _library().plan(request, data_folder=settings().data_folder)
    return cast("Plan", made)


def _library() -> ModuleType:
    return importlib.import_module("npas.planner")
