"""Prices and intervals: right on data that are made by the model, and as often as they say."""

import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from npas_store.learning import INTERVAL, Model, Sample, prices, spread, students_t

PRICES = (3e-5, 2e-11, 4e-10)


def job(draw, *, factor=1.0, kind="k", family="f"):
    """Return a training whose seconds are those of PRICES, times a factor."""
    parts = (10 ** draw.uniform(3, 7), 10 ** draw.uniform(8, 14), 10 ** draw.uniform(6, 11))
    seconds = factor * sum(price * part for price, part in zip(PRICES, parts, strict=True))
    return Sample(kind=kind, family=family, parts=parts, amount=seconds)


def test_quantiles_of_students_t_are_those_of_the_tables():
    for freedom, wanted in ((3, 1.638), (4, 1.533), (5, 1.476), (10, 1.372), (1000, 1.282)):
        assert students_t(0.9, freedom) == pytest.approx(wanted, abs=0.002)


@given(seed=st.integers(0, 2**32), count=st.integers(4, 40))
@settings(max_examples=50, deadline=None)
def test_prices_are_found_where_there_is_no_noise(seed, count):
    draw = random.Random(seed)
    jobs = [job(draw, kind=str(number)) for number in range(count)]
    found = prices([j.parts for j in jobs], [j.amount for j in jobs], [1.0] * count)
    asked = job(draw)
    assert all(price >= 0 for price in found)
    priced = (sum(p * part for p, part in zip(found, j.parts, strict=True)) for j in jobs)
    assert [*priced] == pytest.approx([j.amount for j in jobs], rel=0.05)
    assert Model(jobs).predict("0", "f", asked.parts).factor > 1


@given(
    rows=st.lists(
        st.tuples(*[st.floats(0, 1e6)] * 3, st.floats(1e-3, 1e6)), min_size=1, max_size=12
    )
)
@settings(max_examples=100, deadline=None)
def test_prices_are_never_negative_and_no_worse_than_nothing(rows):
    parts, amounts = [row[:3] for row in rows], [row[3] for row in rows]
    found = prices(parts, amounts, [1.0] * len(rows))
    assert all(price >= 0 and math.isfinite(price) for price in found)
    off = [
        sum(p * x for p, x in zip(found, each, strict=True)) / amount - 1
        for each, amount in zip(parts, amounts, strict=True)
    ]
    assert sum(each**2 for each in off) <= len(rows) * (1 + 1e-9)


@pytest.mark.parametrize("count", [1, 2, 5, 20])
def test_interval_holds_the_next_as_often_as_it_says(count):
    """Spreads are drawn as they are believed to be before anything is measured."""
    draw, trials, usual, doubt = random.Random(count), 4000, 0.3, 3
    held = 0
    for _ in range(trials):
        chi = sum(draw.gauss(0, 1) ** 2 for _ in range(doubt))
        sigma, centre = usual * math.sqrt(doubt / chi), draw.gauss(0, 2)
        ratios = [draw.gauss(centre, sigma) for _ in range(count)]
        told, factor = spread(ratios, usual)
        held += abs(draw.gauss(centre, sigma) - told) <= math.log(factor)
    assert held / trials == pytest.approx(INTERVAL, abs=0.025)


@pytest.mark.parametrize("sigma", [0.05, 0.15, 0.4])
def test_interval_is_learned_whatever_the_spread_is(sigma):
    """Much is measured of one kind: then what was believed before hardly counts."""
    draw, trials = random.Random(7), 1500
    held, factors = 0, []
    for _ in range(trials):
        told, factor = spread([draw.gauss(1, sigma) for _ in range(20)], 0.15)
        held += abs(draw.gauss(1, sigma) - told) <= math.log(factor)
        factors.append(math.log(factor))
    assert 0.72 <= held / trials <= 0.97
    assert 1.2 * sigma < statistics.median(factors) < 1.6 * max(sigma, 0.07)


def test_interval_is_wider_where_there_is_less_to_learn_from():
    few, many = spread([0.1, -0.1], 0.15), spread([0.1, -0.1] * 10, 0.15)
    assert few[1] > many[1]
    assert spread([], 0.8)[1] > spread([], 0.15)[1]


def test_nearest_trainings_are_learned_from():
    draw = random.Random(3)
    same = [job(draw, factor=2.0, kind="same", family="f") for _ in range(3)]
    near = [job(draw, factor=1.5, kind="near", family="f") for _ in range(5)]
    far = [job(draw, kind=f"far{n}", family="g") for n in range(8)]
    model, asked = Model([*same, *near, *far]), job(draw)
    found = {
        (kind, family): model.predict(kind, family, asked.parts)
        for kind, family in (("same", "f"), ("new", "f"), ("new", "h"))
    }
    assert [(p.basis, p.samples) for p in found.values()] == [
        ("kind", 3),
        ("family", 8),
        ("machine", 16),
    ]
    assert found["same", "f"].factor < found["new", "f"].factor
    for sample in same:
        told = model.predict("same", "f", sample.parts)
        assert told.amount / told.factor <= sample.amount <= told.amount * told.factor


def test_probe_alone_tells_something_and_says_how_little():
    draw = random.Random(5)
    probe = [job(draw, kind="", family="") for _ in range(2)]
    told = Model(probe).predict("k", "f", probe[0].parts)
    assert (told.basis, told.samples) == ("probe", 0)
    assert told.amount == pytest.approx(probe[0].amount, rel=0.1)
    assert told.factor > 3


def test_parts_that_were_never_priced_are_not_known():
    free = Sample(kind="k", family="f", parts=(1.0, 0.0, 0.0), amount=2.0)
    assert Model([free]).predict("k", "f", (0.0, 5.0, 0.0)) is None
