"""The numbers of a record that tables are made of, and how they are written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from npas.ensembles.envelope import envelope

from benchmarks.scores import Score

Record = dict[str, Any]
_PM = "\N{PLUS-MINUS SIGN}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A number of a record, in a table.

    Attributes:
        title: of the column.
        path: keys of the record, from the outermost.
        factor: for the table.
        digits: after the point.
    """

    title: str
    path: tuple[str, ...]
    factor: float = 100.0
    digits: int = 1

    def of(self, record: Record) -> float | None:
        """Return the number."""
        value: Any = record
        for key in self.path:
            value = value[key]
        return None if value is None else float(value)

    def text(self, found: Score | None, *, signed: bool = False) -> str:
        """Return mean and interval, bold if signed and clear; -: there is none."""
        return "-" if found is None else written(found, self.factor, self.digits, signed=signed)


def written(found: Score, factor: float, digits: int, *, signed: bool = False) -> str:
    """Return mean and interval of a score times a factor."""
    text = f"{factor * found.mean:{'+' if signed else ''}.{digits}f}"
    if found.half is not None:
        text += f" {_PM} {factor * found.half:.{digits}f}"
    return f"**{text}**" if signed and found.is_clear else text


SCORES = (
    Column(title="accuracy, %", path=("accuracy",)),
    Column(title="NLL", path=("nll",), factor=1, digits=3),
    Column(title="ECE, %", path=("ece",)),
    Column(title="corrupted accuracy, %", path=("corrupted", "accuracy")),
    Column(title="corrupted NLL", path=("corrupted", "nll"), factor=1, digits=3),
    Column(title="corrupted ECE, %", path=("corrupted", "ece")),
)


Points = Sequence[tuple[float, float]]
"""(cost, value), by rising cost: from a cost on, the value that is had for it."""


def mean_between(points: Points, low: float, high: float) -> float | None:
    """Return the mean over all costs from `low` to `high`; None: nothing is had for `low`.

    What is had at a cost is the value of the last point that it pays for, not the best: which
    one is best was not known.
    """
    if not points or points[0][0] > low:
        return None
    total, ends = 0.0, [*(cost for cost, _ in points[1:]), high]
    for (cost, value), end in zip(points, ends, strict=True):
        total += value * max(0.0, min(end, high) - max(cost, low))
    return total / (high - low)


def ladder_points(record: Record, which: str) -> list[tuple[float, float]]:
    """Return cost and accuracy on the test set along a ladder: "ladder" or "by_size"."""
    return [(each["macs"], each["accuracy"]) for each in record["anytime"][which]]


def subset_points(record: Record) -> list[tuple[float, float]]:
    """Return cost and test accuracy of the best subset for each cost, best on images held out."""
    subsets = record["subsets"]
    best = envelope([(each["macs"], each["held_out_accuracy"]) for each in subsets])
    return [(subsets[index]["macs"], subsets[index]["accuracy"]) for index in best]
