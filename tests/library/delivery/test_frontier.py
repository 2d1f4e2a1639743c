"""The frontier by its definition, the smallest network by looking at all of them."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from npas.delivery.frontier import Point, Trial, on_frontier, smallest_within
from npas.delivery.frontier_picture import frontier_svg
from npas.delivery.intervals import mean_of, student

STATES = st.sampled_from(["succeeded", "succeeded", "succeeded", "cancelled", "failed", "running"])


@st.composite
def points(draw):
    """Points of a sweep on 50 test images, sizes and accuracies often equal."""

    def trial(seed):
        correct = draw(st.none() | st.integers(20, 30))
        return Trial(
            job_id=f"job_{seed}",
            seed=seed,
            state=draw(STATES),
            accuracy=None if correct is None else correct / 50,
            parameters=draw(st.integers(1, 6)) * 100,
        )

    return Point(
        architecture=draw(st.integers(0, 2)),
        is_baseline=draw(st.booleans()),
        trials=tuple(trial(seed) for seed in range(draw(st.integers(1, 3)))),
    )


def exact(point):
    """The mean accuracy without rounding, None if no trial counts."""
    counted = [t for t in point.trials if t.state == "succeeded" and t.accuracy is not None]
    correct = [Fraction(round(trial.accuracy * 50), 50) for trial in counted]
    return sum(correct) / len(correct) if correct else None


@given(st.lists(points(), max_size=12))
def test_frontier_is_what_nothing_dominates(several):
    for point, is_on in zip(several, on_frontier(several), strict=True):
        mean = exact(point)
        dominated = mean is None or any(
            exact(other) is not None
            and other.parameters <= point.parameters
            and exact(other) >= mean
            and (other.parameters < point.parameters or exact(other) > mean)
            for other in several
        )
        assert is_on == (not dominated)


@given(st.lists(points(), max_size=12), points(), st.integers(0, 100))
def test_smallest_is_the_smallest_of_all_that_are_near(several, baseline, percent):
    if baseline.accuracy is None:
        return
    found = smallest_within(several, percent / 100, baseline)
    near = [
        point
        for point in several
        if not point.is_baseline
        and point.parameters < baseline.parameters
        and exact(point) is not None
        and exact(point) >= exact(baseline) - Fraction(percent, 100)
    ]
    if not near:
        assert found is None
    else:
        assert found in near
        assert found.parameters == min(point.parameters for point in near)
        equal = [p for p in near if p.parameters == found.parameters]
        assert math.isclose(exact(found), max(map(exact, equal)))


def test_point_is_of_the_seeds_that_ended():
    trials = [
        Trial(job_id="a", seed=0, state="succeeded", accuracy=0.5, parameters=10),
        Trial(job_id="b", seed=1, state="succeeded", accuracy=0.7, parameters=12),
        Trial(job_id="c", seed=2, state="cancelled", accuracy=0.9, parameters=99),
        Trial(job_id="d", seed=3, state="running", accuracy=None, parameters=99),
        Trial(job_id="e", seed=4, state="succeeded", accuracy=0.7, parameters=11),
    ]
    point = Point(architecture=0, is_baseline=False, trials=tuple(trials))
    assert (point.parameters, point.best) == (12, trials[1])
    assert (point.accuracy.count, point.accuracy.mean) == (3, pytest.approx(1.9 / 3))
    lone = Point(architecture=0, is_baseline=False, trials=tuple(trials[2:4]))
    assert (lone.accuracy, lone.best, lone.parameters) == (None, None, 99)


def density(t, freedom):
    """Of Student's t, from its definition."""
    factor = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    return (
        math.exp(factor)
        / math.sqrt(freedom * math.pi)
        * (1 + t * t / freedom) ** (-(freedom + 1) / 2)
    )


@pytest.mark.parametrize("freedom", [*range(1, 13), 99, 199])
def test_student_leaves_a_twentieth_outside(freedom):
    """The density summed up by Simpson's rule, in place of the finite series."""
    steps = 20_000
    width = student(freedom) / steps
    weights = [1, *[4, 2] * (steps // 2 - 1), 4, 1]
    total = math.fsum(w * density(i * width, freedom) for i, w in enumerate(weights))
    assert 2 * total * width / 3 == pytest.approx(0.95, abs=1e-9)


PRINTED = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365)
"""Of the usual tables, for 1 to 7 degrees of freedom."""


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8))
def test_interval_is_by_the_printed_tables(correct):
    values = [Fraction(count, 1000) for count in correct]
    mean = sum(values) / len(values)
    found = mean_of([float(value) for value in values])
    assert (found.mean, found.count) == (pytest.approx(float(mean)), len(values))
    if len(values) == 1:
        assert (found.low, found.high) == (None, None)
        return
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    half = PRINTED[len(values) - 2] * math.sqrt(variance / len(values))
    # Three decimals are printed.
    assert found.high - found.mean == pytest.approx(half, rel=5e-4, abs=1e-12)
    assert found.mean - found.low == pytest.approx(half, rel=5e-4, abs=1e-12)


def mark(series, parameters, mean, **more):
    known = {"low": None, "high": None, "is_baseline": False, "is_on_frontier": True}
    return {"series": series, "parameters": parameters, "mean": mean, **known, **more}


@pytest.mark.slow
def test_picture_is_the_same_for_the_same_points():
    marks = [
        mark("dense", 75_290, 0.95, is_baseline=True),
        mark("ssn $1 <b>", 20_000, 0.91, low=0.9, high=0.92),
        mark("ssn $1 <b>", 40_000, 0.90, is_on_frontier=False),
    ]
    picture = frontier_svg("digits: accuracy", marks)
    assert picture == frontier_svg("digits: accuracy", marks) != frontier_svg("d", marks[:1])
    assert "<script" not in picture
    assert "ssn $1 &lt;b&gt;" in picture
    assert "no network was trained to its end yet" in frontier_svg("digits", [])
