"""Means of a few seeds, and how far they can be trusted."""

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Mean:
    """A mean with the interval of Student's t, not cut at 0 and 1.

    Attributes:
        mean: of the values.
        low: where the interval begins; None: one value has none.
        high: where it ends.
        count: of the values.
    """

    mean: float
    low: float | None
    high: float | None
    count: int


def mean_of(values: Sequence[float]) -> Mean:
    """Return the mean of at least one value, with its 95 % interval where there are two."""
    count, mean = len(values), statistics.fmean(values)
    if count < 2:
        return Mean(mean=mean, low=None, high=None, count=count)
    half = student(count - 1) * statistics.stdev(values) / math.sqrt(count)
    return Mean(mean=mean, low=mean - half, high=mean + half, count=count)


@functools.cache
def student(freedom: int) -> float:
    """Return the t that a variable of so many degrees of freedom exceeds in 2.5 % of all cases.

    Found by halving the angle whose tangent is t / sqrt(freedom), until it is two floats wide.

    Args:
        freedom: degrees of freedom, >= 1.
    """
    low, high = 0.0, math.pi / 2
    while low < (middle := (low + high) / 2) < high:
        if _within(middle, freedom) < CONFIDENCE:
            low = middle
        else:
            high = middle
    return math.tan(high) * math.sqrt(freedom)


def _within(angle: float, freedom: int) -> float:
    """Return the probability of |t| <= tan(angle) sqrt(freedom).

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    cosine, is_odd = math.cos(angle), freedom % 2
    term = cosine if is_odd else 1.0
    total = 0.0
    for power in range(1 + is_odd, freedom, 2):
        total += term
        term *= cosine * cosine * power / (power + 1)
    if is_odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total
