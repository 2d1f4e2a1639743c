"""Learns from measurements what a training takes: arithmetic alone, explained by its model.

A quantity, such as seconds, is a sum of parts that were counted beforehand, each at a price that
is not negative: so much an operation, so much a multiply-add, so much a byte. Prices come from all
measurements of a machine; how far the model is off for trainings of one kind comes from those
most like the one that is asked for, as a factor with a spread.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import Literal

INTERVAL = 0.8
"""Chance that a quantity lies in the interval that is told."""

Basis = Literal["kind", "family", "machine", "probe"]
"""What the measurements have in common with what is asked: the nearest there is."""

_SPREADS: Mapping[Basis, float] = {"kind": 0.15, "family": 0.35, "machine": 0.6, "probe": 0.8}
"""Standard deviations of log ratios, where there is little to learn them from."""

_DOUBT = 3
"""Measurements that the spreads above count as much as."""

_ROUNDS = 500
_PROBE_WEIGHT = 0.1
"""Of each measurement of a probe, beside all of one kind together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One measurement.

    Attributes:
        kind: of the training; "" of a probe.
        family: of the training.
        parts: what was counted.
        amount: what was measured, > 0.
    """

    kind: str
    family: str
    parts: tuple[float, ...]
    amount: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """An amount with its interval.

    Attributes:
        amount: as likely too high as too low.
        factor: `amount` times this, and over it, are the ends of the interval.
        basis: what it was learned from.
        samples: how many.
    """

    amount: float
    factor: float
    basis: Basis
    samples: int


class Model:
    """Prices of the parts, and how far measurements were from them."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        """Learn.

        Args:
            samples: at least one; parts in one order.
        """
        counts = Counter(sample.kind for sample in samples)
        weights = [1 / counts[each.kind] if each.kind else _PROBE_WEIGHT for each in samples]
        self._prices = prices(
            [each.parts for each in samples], [s.amount for s in samples], weights
        )
        self._off: dict[tuple[str, str], list[float]] = defaultdict(list)
        for sample in samples:
            if sample.kind and (expected := self._expected(sample.parts)) > 0:
                ratio = math.log(sample.amount / expected)
                self._off[sample.family, sample.kind].append(ratio)

    def predict(self, kind: str, family: str, parts: Sequence[float]) -> Prediction | None:
        """Return what parts come to; None where nothing is known of them."""
        expected = self._expected(parts)
        if expected <= 0:
            return None
        basis, ratios, count = self._nearest(kind, family)
        centre, factor = spread(ratios, _SPREADS[basis])
        return Prediction(
            amount=expected * math.exp(centre), factor=factor, basis=basis, samples=count
        )

    def _expected(self, parts: Sequence[float]) -> float:
        return sum(price * part for price, part in zip(self._prices, parts, strict=True))

    def _nearest(self, kind: str, family: str) -> tuple[Basis, list[float], int]:
        """Return log ratios: of each measurement of the kind, or one for each kind like it.

        Kinds differ by more than measurements of one kind do, however many there are.
        """
        if same := self._off.get((family, kind)):
            return "kind", same, len(same)
        alike = {key: each for key, each in self._off.items() if key[0] == family}
        basis: Basis = "family" if alike else "machine" if self._off else "probe"
        found = alike or self._off
        return basis, [fmean(each) for each in found.values()], sum(map(len, found.values()))


def spread(ratios: Sequence[float], usual: float) -> tuple[float, float]:
    """Return where the next log ratio is expected, and the factor of the interval around it.

    The ratios are taken for normal, of a variance that is not known: the next one follows
    Student's t distribution (Gelman et al., Bayesian Data Analysis, 3rd ed., 2013, sections 3.2
    and 3.3).

    Args:
        ratios: measured; may be none.
        usual: standard deviation that is believed as much as `_DOUBT` ratios are.
    """
    count = len(ratios)
    centre = fmean(ratios) if ratios else 0.0
    squares = sum((ratio - centre) ** 2 for ratio in ratios)
    freedom = _DOUBT + max(0, count - 1)
    variance = (_DOUBT * usual**2 + squares) / freedom * (1 + 1 / max(1, count))
    return centre, math.exp(students_t((1 + INTERVAL) / 2, freedom) * math.sqrt(variance))


def students_t(probability: float, freedom: int) -> float:
    """Return a quantile of Student's t distribution, to three digits from 3 degrees on.

    Source: Hill, "Algorithm 396: Student's t-quantiles", 1970, as the expansion of Fisher and
    Cornish in Abramowitz & Stegun, 26.7.5.
    """
    z = NormalDist().inv_cdf(probability)
    terms: tuple[float, ...] = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / freedom**order for order, term in enumerate(terms, start=1))


def prices(
    parts: Sequence[Sequence[float]], amounts: Sequence[float], weights: Sequence[float]
) -> list[float]:
    """Return the prices, none of them negative, at which sums of parts are nearest to amounts.

    Least squares of relative errors, one price after the other until nothing moves.

    Args:
        parts: of each measurement.
        amounts: measured, > 0.
        weights: of the measurements, > 0.
    """
    rows = [[p / amount for p in each] for each, amount in zip(parts, amounts, strict=True)]
    kinds = range(len(rows[0]))
    product = [
        [sum(w * r[i] * r[j] for r, w in zip(rows, weights, strict=True)) for j in kinds]
        for i in kinds
    ]
    wanted = [sum(w * r[i] for r, w in zip(rows, weights, strict=True)) for i in kinds]
    found = [0.0 for _ in kinds]
    for _ in range(_ROUNDS):
        for i in kinds:
            if product[i][i] > 0:
                rest = sum(product[i][j] * found[j] for j in kinds if j != i)
                found[i] = max(0.0, (wanted[i] - rest) / product[i][i])
    return found
