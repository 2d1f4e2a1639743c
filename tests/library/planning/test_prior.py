"""What is known of a candidate before anything is trained."""

import math

import pytest
from npas import registry
from npas.planning import prior
from npas.planning.prior import (
    KnownCell,
    KnownLosses,
    Place,
    Rival,
    Sized,
    before_racing,
    known_losses,
    name_of,
    racing,
)
from npas.planning.problem import PlanningProblem
from npas.planning.verdict import Belief
from npas.spec import MethodSpec, PlanRequest

HERE = Place(family="wrn", fraction=0.25)


def cell(lead, *, family="wrn", fraction=0.25, sized=()):
    """Return a cell where random sharing leads uniform sharing."""
    return KnownCell(
        network=f"{family}-1",
        family=family,
        dataset="digits",
        fraction=fraction,
        epochs=10,
        losses={"uniform": 1.0, "random": 1.0 - lead},
        sized=sized,
    )


@pytest.fixture
def known(monkeypatch):
    """Take other losses for those that come along."""

    def put(*cells):
        found = KnownLosses(noise=0.02, spread=0.03, cells=cells)
        monkeypatch.setattr(prior, "known_losses", lambda: found)

    return put


def rivals(*names, macs=None):
    return [Rival(method=MethodSpec(name=name), macs=macs) for name in names]


def of(*names, place=HERE):
    return before_racing(rivals(*names), place)


def test_a_method_that_was_never_tried_is_no_better_and_may_be_anything(known):
    known(cell(0.1))
    (never,) = of("uniform", "ssn")
    (tried,) = of("uniform", "random")
    assert never.lead == 0
    assert never.error > tried.error
    assert never.error == pytest.approx(0.03 * math.sqrt(2 * (1 + 1 / 0.5)))


def test_leads_are_those_of_other_cells_and_the_opposite_the_other_way_round(known):
    known(cell(0.1), cell(0.1), cell(0.1), cell(0.1))
    (lead,) = of("uniform", "random")
    (behind,) = of("random", "uniform")
    assert lead.lead == pytest.approx(0.1 * 4 / 4.5)
    assert (behind.lead, behind.error) == pytest.approx((-lead.lead, lead.error))


def test_cells_that_differ_leave_more_doubt_than_cells_that_agree(known):
    known(*(cell(0.1) for _ in range(4)))
    (alike,) = of("uniform", "random")
    known(*(cell(lead) for lead in (-0.1, 0.0, 0.2, 0.3)))
    (unlike,) = of("uniform", "random")
    assert unlike.lead == pytest.approx(alike.lead)
    assert unlike.error > alike.error
    known(*(cell(0.1) for _ in range(40)))
    assert of("uniform", "random")[0].error < alike.error


def test_cells_of_this_family_and_budget_count_most(known):
    near, far = cell(0.1), cell(-0.1, family="vit")
    known(near, far)
    assert of("uniform", "random")[0].lead > 0
    assert of("uniform", "random", place=Place(family="vit", fraction=0.25))[0].lead < 0
    known(cell(0.1, fraction=0.05), cell(-0.1, fraction=0.5))
    assert of("uniform", "random", place=Place(family=None, fraction=0.05))[0].lead > 0
    assert of("uniform", "random", place=Place(family=None, fraction=0.5))[0].lead < 0


def test_larger_network_is_believed_what_larger_ones_came_to(known):
    wider = Sized(method="random", doublings=0.5, loss=0.9)
    known(*(cell(0.05, sized=(wider,)) for _ in range(9)))
    one, larger, smaller = (
        Rival(method=MethodSpec(name="random"), macs=macs) for macs in (100, 200, 50)
    )
    large, small = before_racing([one, larger, smaller], HERE)
    assert large.lead == pytest.approx(0.1 * 9 / 9.5)
    assert small.lead == pytest.approx(-large.lead)
    other = Rival(method=MethodSpec(name="uniform"), macs=200)
    (both,) = before_racing([one, other], HERE)
    assert both == before_racing(rivals("random", "uniform"), HERE)[0].plus(large)
    (same_macs,) = before_racing([one, Rival(method=MethodSpec(name="narrow"), macs=50)], HERE)
    assert same_macs == of("random", "narrow")[0]  # its width is its own


def test_sizes_that_were_never_tried_may_be_better_or_worse(known):
    known(cell(0.1))
    one, larger = (Rival(method=MethodSpec(name="random"), macs=macs) for macs in (100, 200))
    (belief,) = before_racing([one, larger], HERE)
    assert belief.lead == 0
    assert belief.error > 0.03


def test_reference_always_races_and_hopeless_ones_never(known):
    known(*(cell(-5.0) for _ in range(30)))
    assert racing(rivals("uniform", "random"), HERE) == [0]
    assert racing(rivals("uniform"), HERE) == [0]
    assert racing(rivals("random", "uniform", "ssn"), HERE) == [0, 1, 2]


def test_method_of_other_options_counts_less_than_the_method_itself(known):
    with_options = 'random {"private": ["stem"]}'
    one = cell(0.0)
    losses = {"uniform": 1.0, with_options: 0.9}
    known(*[one.model_copy(update={"losses": losses})] * 4)
    (alike,) = of("uniform", "random")
    known(*[one.model_copy(update={"losses": losses | {"random": 0.9}})] * 4)
    (itself,) = of("uniform", "random")
    assert 0 < alike.lead < itself.lead
    assert alike.lead == pytest.approx(0.1 * 2 / 2.5)
    assert alike.error > itself.error


def test_name_leaves_out_what_is_by_default():
    assert name_of(MethodSpec(name="ssn")) == "ssn"
    assert name_of(MethodSpec.model_validate({"name": "ssn", "groups": "learned"})) == "ssn"
    given = MethodSpec.model_validate({"name": "ssn", "groups": "single"})
    assert name_of(given) == 'ssn {"groups": "single"}'


def test_place_is_of_the_networks_that_were_asked_for():
    request = PlanRequest.model_validate(
        {"architecture": "wrn-16-1", "budget": {"fraction": 0.25}, "method": "auto"}
    )
    problem = PlanningProblem.of(request, None)
    place = Place.of(problem, budget=problem.budget)
    assert place.family == "wrn"
    assert place.fraction == pytest.approx(0.25, rel=1e-3)
    two = [{"name": name, "architecture": name} for name in ("wrn-16-1", "resnet-14")]
    mixed = PlanRequest.model_validate({"networks": two, "budget": {"fraction": 0.25}})
    assert Place.of(PlanningProblem.of(mixed, None), budget=10).family is None


def test_what_comes_along_knows_methods_by_names_that_requests_have():
    known = known_losses()
    names = {name.partition(" ")[0] for cell in known.cells for name in cell.losses}
    assert names < set(registry.names("npas.methods"))
    default = PlanRequest.model_fields["method"].get_default(call_default_factory=True)
    assert default.name in names
    assert 0 < known.noise < 0.1
    assert 0 < known.spread < 0.1
    for family in ("wrn", "vit", "text-encoder"):
        for fraction in (0.001, 0.1, 1.0, 2.0):
            found = before_racing(
                [*rivals("block_mix", "random", "uniform", "ssn", "narrow", "dense")],
                Place(family=family, fraction=fraction),
            )
            assert all(isinstance(each, Belief) and 0.01 < each.error < 0.3 for each in found)
