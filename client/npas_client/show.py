"""Shows jobs while they run: a live table on a terminal, plain lines anywhere else."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from npas_client.answers import Job

LINE_SECONDS = 3.0
"""Without a terminal, a job says that it moved on at most so often; phases show at once."""


STAGES = {"teaching": "teacher", "searching": "search", "training": "train"}
"""Which epochs of the curve are those of a phase."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What is known of one job at one moment.

    Attributes:
        title: for people, such as "block_mix, 25 %".
        job: as the service returned it.
        latest: the newest row of its learning curve, empty before the first epoch.
    """

    @property
    def _epochs(self) -> Mapping[str, Any]:
        """The newest epoch of this phase: the training does not show those of the search."""
        stage = STAGES.get(self.phase)
        is_past = stage is not None and self.latest.get("stage") != stage
        return {} if is_past else self.latest

    title: str
    job: Job
    latest: Mapping[str, Any]

    @property
    def phase(self) -> str:
        """What the job is doing: its phase while it runs, else its state."""
        return str(self.job.phase or "running") if self.job.state == "running" else self.job.state

    @property
    def epoch(self) -> str:
        """Which epoch of how many."""
        return f"{self._epochs['epoch']}/{self._epochs['epochs']}" if self._epochs else ""

    @property
    def accuracy(self) -> str:
        """Accuracy on the validation images, in percent."""
        value = self._epochs.get("validation_accuracy")
        return "" if value is None else f"{value:.1%}"

    @property
    def left(self) -> str:
        """Time until the end, as the service estimates it."""
        seconds = self.job.eta_seconds
        return "" if seconds is None or self.job.is_terminal else f"{seconds:.0f} s"


class View:
    """The display; use it as a `with` block and call update() with what is new.

    Args:
        console: a terminal or not.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=8) if console.is_terminal else None
        self._shown: dict[str, tuple[str, str]] = {}
        self._at: dict[str, float] = {}

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def update(self, rows: Sequence[Row]) -> None:
        """Show the jobs as they are now."""
        if self._live:
            self._live.update(_table(rows))
        else:
            for row in rows:
                self._line(row)

    def _line(self, row: Row) -> None:
        """Print a job's line when it has changed, its phase or, now and then, its epoch."""
        key, now = row.job.id, time.monotonic()
        before = self._shown.get(key, ("", ""))
        is_due = row.epoch != before[1] and now - self._at.get(key, 0.0) >= LINE_SECONDS
        if row.phase == before[0] and not is_due:
            return
        self._shown[key], self._at[key] = (row.phase, row.epoch), now
        facts = (
            f"epoch {row.epoch}" if row.epoch else "",
            f"validation accuracy {row.accuracy}" if row.accuracy else "",
            f"{row.left} left" if row.left else "",
        )
        line = ", ".join([f"{row.title}: {row.phase}", *filter(None, facts)])
        self._console.print(line, highlight=False, soft_wrap=True)


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("job", "phase", "progress", "epoch", "accuracy", "left"):
        table.add_column(heading, min_width=8, header_style="dim")
    for row in rows:
        done = 1.0 if row.job.is_terminal else row.job.progress or 0.0
        bar = ProgressBar(total=1.0, completed=done, width=30)
        table.add_row(row.title, row.phase, bar, row.epoch, row.accuracy, row.left)
    return table
