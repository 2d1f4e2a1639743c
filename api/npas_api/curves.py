"""Thins out a learning curve for a picture: fewer rows, and the peaks of each metric survive."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

_NUMBERS = {int, float}


def thinned(rows: Sequence[Row], names: Sequence[str], max_points: int) -> list[int]:
    """Return the indices of the rows to keep, ascending.

    Args:
        rows: the curve; values that are missing or None are passed over.
        names: the metrics whose peaks must survive.
        max_points: most indices; at least 2.
    """
    if len(rows) <= max_points:
        return list(range(len(rows)))
    last = len(rows) - 1
    stretches = (max_points - 2) // (2 * max(1, len(names)))
    if stretches == 0 or not names:
        return sorted({round(last * i / (max_points - 1)) for i in range(max_points)})
    ends = [last * i // stretches for i in range(stretches + 1)]
    kept = {0, last}
    for name in names:
        column = [row.get(name) for row in rows]
        peaks = _fast_peaks if {type(value) for value in column} <= _NUMBERS else _peaks
        for start, end in itertools.pairwise(ends):
            kept.update(peaks(column, start, end))
    return sorted(kept)


def _fast_peaks(column: list[Any], start: int, end: int) -> Iterable[int]:
    """Return where the lowest and the highest of a stretch stand; all are numbers."""
    part = column[start:end]
    if not part:
        return ()
    return start + part.index(min(part)), start + part.index(max(part))


def _peaks(column: list[Any], start: int, end: int) -> Iterable[int]:
    numbers = [i for i in range(start, end) if isinstance(column[i], int | float)]
    if not numbers:
        return ()
    return (
        min(numbers, key=lambda i: float(column[i])),
        max(numbers, key=lambda i: float(column[i])),
    )
