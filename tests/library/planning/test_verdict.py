"""Who is better than the reference: the arithmetic, and the laws of the choice."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from npas.planning.verdict import (
    DRIFT,
    HOPELESS,
    MOST_RACED,
    Belief,
    Measured,
    Z,
    chosen,
    entrants,
    extrapolated,
)

NOISE = 0.02
LEAD = st.floats(-1, 1)
ERROR = st.floats(0.001, 1)
BELIEF = st.builds(Belief, lead=LEAD, error=ERROR)
LENGTHS = st.lists(st.integers(1, 100), min_size=1, max_size=5, unique=True)


@st.composite
def measurements(draw):
    """Leads at several lengths, the shortest first."""
    return [
        Measured(epochs=epochs, lead=draw(LEAD), error=draw(st.floats(0, 0.5)))
        for epochs in sorted(draw(LENGTHS))
    ]


def test_two_beliefs_are_as_one_of_both():
    both = Belief(lead=0.1, error=0.3).and_also(Belief(lead=0.4, error=0.6))
    assert both.lead == pytest.approx((4 * 0.1 + 0.4) / 5)
    assert both.error == pytest.approx(0.6 / math.sqrt(5))
    total = Belief(lead=0.1, error=0.3).plus(Belief(lead=0.2, error=0.4))
    assert (total.lead, total.error) == pytest.approx((0.3, 0.5))


@given(BELIEF, BELIEF, st.floats(0, 1))
def test_both_beliefs_count_and_leave_less_doubt_than_either(one, other, more):
    both = one.and_also(other)
    low, high = sorted((one.lead, other.lead))
    assert low - 1e-9 <= both.lead <= high + 1e-9
    assert both.error < min(one.error, other.error) * (1 + 1e-9)
    higher = Belief(lead=one.lead + more, error=one.error).and_also(other)
    assert higher.lead >= both.lead - 1e-9


def test_one_length_says_its_own_lead_and_less_surely_the_shorter_it_is():
    found = extrapolated([Measured(epochs=10, lead=0.3, error=0.05)], whole=100, noise=NOISE)
    assert found.lead == pytest.approx(0.3)
    drift = DRIFT * math.log(10)
    assert found.error == pytest.approx(math.sqrt(NOISE**2 + drift**2 + 0.05**2))
    whole = extrapolated([Measured(epochs=100, lead=0.3, error=0.05)], whole=100, noise=NOISE)
    assert whole.error == pytest.approx(math.hypot(NOISE, 0.05))


def test_line_goes_on_as_leads_fell_but_not_as_steeply():
    """Drawn towards a level line by what is known of slopes: 0 with deviation `DRIFT`."""
    places = [math.log(1 / 90), math.log(1 / 3)]
    leads = [0.3, 0.1]
    found = extrapolated(
        [Measured(epochs=e, lead=lead, error=0.0) for e, lead in zip((1, 30), leads, strict=True)],
        whole=90,
        noise=NOISE,
    )
    slope = (leads[1] - leads[0]) / (places[1] - places[0])
    straight = leads[1] - slope * places[1]
    assert straight < found.lead < sum(leads) / 2
    # The same, as least squares with one more row: the slope is 0, to within `DRIFT`.
    weight = NOISE / DRIFT
    rows = [[1, x] for x in places] + [[0, weight]]
    a, b = _least_squares(rows, [*leads, 0])
    assert found.lead == pytest.approx(a)
    assert slope < b < 0


def _least_squares(rows, wanted):
    import numpy as np

    return np.linalg.lstsq(np.array(rows, float), np.array(wanted, float), rcond=None)[0]


@given(measurements(), st.floats(-1, 1))
def test_what_all_leads_have_in_common_comes_through(measured, more):
    """So a lead that is larger throughout is expected to be larger."""
    found = extrapolated(measured, whole=100, noise=NOISE)
    higher = [
        Measured(epochs=each.epochs, lead=each.lead + more, error=each.error) for each in measured
    ]
    moved = extrapolated(higher, whole=100, noise=NOISE)
    assert moved.lead == pytest.approx(found.lead + more, abs=1e-9)
    assert moved.error == found.error


@given(measurements())
def test_error_is_at_least_that_of_the_images_and_falls_with_each_length(measured):
    found = extrapolated(measured, whole=100, noise=NOISE)
    assert found.error > max(each.error for each in measured)
    alike = [Measured(epochs=each.epochs, lead=each.lead, error=0.1) for each in measured]
    fewer = extrapolated(alike[-1:], whole=100, noise=NOISE)
    assert extrapolated(alike, whole=100, noise=NOISE).error <= fewer.error * (1 + 1e-9)


@given(st.dictionaries(st.integers(1, 20), BELIEF))
def test_no_lead_within_the_noise_is_ever_chosen(believed):
    place = chosen(believed)
    clear = {p: each for p, each in believed.items() if each.lead > Z * each.error}
    if place is None:
        assert not clear
    else:
        assert place in clear
        assert believed[place].lead == max(each.lead for each in clear.values())


@given(st.dictionaries(st.integers(1, 20), BELIEF), st.randoms())
def test_choice_does_not_depend_on_the_order(believed, chance):
    items = list(believed.items())
    chance.shuffle(items)
    assert chosen(dict(items)) == chosen(believed)
    places = list(believed)
    shuffled = sorted(places, key=lambda _: chance.random())
    renamed = {new: believed[old] for new, old in zip(shuffled, places, strict=True)}
    first, second = chosen(believed), chosen(renamed)
    assert (first is None) == (second is None)
    if first is not None:
        assert believed[first].lead == renamed[second].lead


@given(st.dictionaries(st.integers(1, 20), BELIEF, min_size=1), st.floats(0, 1), st.data())
def test_who_wins_goes_on_to_win_with_a_larger_lead(believed, more, data):
    place = data.draw(st.sampled_from(sorted(believed)))
    lead = believed[place].lead + more
    higher = believed | {place: Belief(lead=lead, error=believed[place].error)}
    if chosen(believed) == place:
        assert chosen(higher) == place
    else:
        assert chosen(higher) in (chosen(believed), place)


@given(BELIEF, st.floats(0, 1))
def test_hope_is_positive_and_grows_with_lead_and_doubt(belief, more):
    assert belief.hope >= max(0.0, belief.lead) - 1e-12
    assert Belief(lead=belief.lead + more, error=belief.error).hope >= belief.hope - 1e-12
    assert Belief(lead=belief.lead, error=belief.error + more).hope >= belief.hope - 1e-12


@given(st.lists(BELIEF, max_size=40))
def test_entrants_are_few_open_and_the_most_promising(known):
    found = entrants(known)
    assert len(found) < MOST_RACED
    assert len(set(found)) == len(found)
    is_open = [each.lead + HOPELESS * each.error >= 0 for each in known]
    assert all(is_open[place] for place in found)
    assert [known[p].hope for p in found] == sorted((known[p].hope for p in found), reverse=True)
    if len(found) < MOST_RACED - 1:
        assert len(found) == sum(is_open)
    assert entrants(known) == found
