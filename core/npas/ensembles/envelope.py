"""The best that can be had for each cost."""

import itertools
from collections.abc import Sequence


def envelope(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the points that no other is as good as for as little: indices, by rising cost.

    Args:
        points: (cost, value); more value is better. Of equal points the first counts.
    """
    order = sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1]))
    found: list[int] = []
    for index in order:
        if not found or points[index][1] > points[found[-1]][1]:
            found.append(index)
    return found


def best_within(points: Sequence[tuple[float, float]], cost: float) -> float | None:
    """Return the most value that can be had for a cost; None: nothing is so cheap."""
    return max((value for price, value in points if price <= cost), default=None)


def mean_value(
    points: Sequence[tuple[float, float]], *, low: float, high: float, nothing: float
) -> float:
    """Return the mean over all costs from `low` to `high` of the best value that can be had.

    Args:
        points: (cost, value).
        low: least cost.
        high: largest cost, above `low`.
        nothing: value where nothing can be had.
    """
    steps = sorted({low, high, *(cost for cost, _ in points if low < cost < high)})
    total = 0.0
    for start, end in itertools.pairwise(steps):
        best = best_within(points, start)
        total += (end - start) * (nothing if best is None else best)
    return total / (high - low)
