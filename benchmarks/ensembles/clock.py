"""Processor time of work that is stopped and gone on with."""

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.runs import write


class ProcessorClock:
    """Adds up the processor seconds spent within it, over all processes that go on with a file.

    Attributes:
        seconds: so far.
    """

    def __init__(self, path: Path) -> None:
        """Go on from a file, or begin at nothing where there is none."""
        self._path, self._started = path, 0.0
        self.seconds: float = json.loads(path.read_text())["seconds"] if path.exists() else 0.0

    def __enter__(self) -> Self:
        """Start."""
        self._started = time.process_time()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and put the sum to file."""
        self.seconds += time.process_time() - self._started
        write(self._path, {"seconds": self.seconds})
