"""The best that can be had for each cost."""

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
