"""Accuracy against parameters: which networks of a sweep are worth their size."""

from collections.abc import Sequence
from dataclasses import dataclass

from npas.delivery.intervals import Mean, mean_of

_DIGITS = 12
"""Accuracies are counts of images over counts of images: what differs behind these is rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One training of a point.

    Attributes:
        job_id: of its job.
        seed: of the training.
        state: of its job.
        accuracy: on the test images, 0..1; None: there is none.
        parameters: trainable, of the network that is delivered, or of the plan.
    """

    job_id: str
    seed: int
    state: str
    accuracy: float | None
    parameters: int

    @property
    def counts(self) -> bool:
        """Whether it was trained to its end: others say nothing about the point."""
        return self.state == "succeeded" and self.accuracy is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A network by one method at one budget, over all seeds.

    Attributes:
        architecture: number of the network in the sweep.
        is_baseline: whether it is the network without sharing.
        trials: one for each seed, in any state; at least one.
    """

    architecture: int
    is_baseline: bool
    trials: tuple[Trial, ...]

    @property
    def accuracy(self) -> Mean | None:
        """Over the trials that count; None: there are none."""
        values = [t.accuracy for t in self.trials if t.counts and t.accuracy is not None]
        return mean_of(values) if values else None

    @property
    def parameters(self) -> int:
        """Of the largest network among the trials that count, or among all of them."""
        counted = [trial for trial in self.trials if trial.counts]
        return max(trial.parameters for trial in counted or self.trials)

    @property
    def best(self) -> Trial | None:
        """The most accurate trial that counts, of equal ones that of the lowest seed."""
        counted = [trial for trial in self.trials if trial.counts]
        return max(counted, key=lambda t: (t.accuracy or 0.0, -t.seed), default=None)


def on_frontier(points: Sequence[Point]) -> list[bool]:
    """Tell of each point whether no other is as small and more accurate, or smaller and as good.

    Points without an accuracy are not on it, and hide no others; equal points are all on it.
    """
    means = [None if p.accuracy is None else round(p.accuracy.mean, _DIGITS) for p in points]
    best: dict[int, float] = {}
    for point, mean in zip(points, means, strict=True):
        if mean is not None:
            best[point.parameters] = max(mean, best.get(point.parameters, mean))
    steps: dict[int, float] = {}
    highest = float("-inf")
    for size in sorted(best):
        if best[size] > highest:
            steps[size] = highest = best[size]
    found = zip(points, means, strict=True)
    return [mean is not None and steps.get(point.parameters) == mean for point, mean in found]


def smallest_within(points: Sequence[Point], share: float, baseline: Point) -> Point | None:
    """Return the smallest network whose mean accuracy is within a share of the baseline's.

    Args:
        points: to choose from; baselines, and networks that are no smaller, are passed over.
        share: of all images, 0..1; 0.01 is one point.
        baseline: that has an accuracy.

    Returns:
        the smallest one, of equally small ones the most accurate; None: there is none.
    """
    assert baseline.accuracy is not None
    least = round(baseline.accuracy.mean - share, _DIGITS)
    near = [
        (point.parameters, -point.accuracy.mean, place)
        for place, point in enumerate(points)
        if not point.is_baseline
        and point.accuracy is not None
        and round(point.accuracy.mean, _DIGITS) >= least
        and point.parameters < baseline.parameters
    ]
    return points[min(near)[2]] if near else None
