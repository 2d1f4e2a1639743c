"""Processor time of work that is stopped and gone on with."""

import json
import time
from pathlib import Path

from benchmarks.runs import write


class ProcessorClock:
    """Adds up processor seconds, over all processes that go on with its file.

    Attributes:
        seconds: so far.
    """

    def __init__(self, path: Path) -> None:
        """Go on from a file, or begin at nothing where there is none."""
        self._path = path
        self._started: float | None = None
        self.seconds: float = json.loads(path.read_text())["seconds"] if path.exists() else 0.0

    def start(self) -> None:
        """Count from now on; where it counts already, that goes on."""
        if self._started is None:
            self._started = time.process_time()

    def stop(self) -> None:
        """Count no more, and put the sum to file."""
        if self._started is not None:
            self.seconds += time.process_time() - self._started
            self._started = None
            write(self._path, {"seconds": self.seconds})
