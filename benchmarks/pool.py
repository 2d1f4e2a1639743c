"""Makes what is missing in so many processes; can be stopped and gone on with."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any, TypeVar

Cell = TypeVar("Cell")
Record = dict[str, Any]
Work = Callable[[Cell, Any], Record | None]
"""(cell, event) -> its record, or None: the event was set before it was made."""


def each_made(work: Work[Cell], cells: Sequence[Cell], jobs: int) -> Iterator[tuple[Cell, Record]]:
    """Make the records of cells in so many processes and yield each when it is made.

    Closing the generator, which Ctrl-C does too, sets the event and waits for those in progress.

    Args:
        work: makes one; can be pickled.
        cells: in the order of the work.
        jobs: at a time.
    """
    context = multiprocessing.get_context("spawn")
    stopping = context.Event()
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(stopping,))
    running: dict[Future[Record | None], Cell] = {}
    try:
        for cell in cells:
            running[pool.submit(_made, work, cell)] = cell
            if len(running) == jobs:
                yield from _finished(running)
        while running:
            yield from _finished(running)
    finally:
        stopping.set()
        pool.shutdown(wait=True)


def _finished(running: dict[Future[Record | None], Cell]) -> Iterator[tuple[Cell, Record]]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        cell, record = running.pop(future), future.result()
        assert record is not None, "only a run that is told to stop is paused"
        yield cell, record


_stopping: Any = None


def _start(stopping: Any) -> None:
    """Prepare a process of the pool: Ctrl-C is for the parent, which then sets the event."""
    global _stopping
    _stopping = stopping
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _made(work: Work[Cell], cell: Cell) -> Record | None:
    return work(cell, _stopping)
