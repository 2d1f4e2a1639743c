"""Sizes of a network at one budget: which are offered, within which limits; refusals."""

import math

import npas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from npas import arch
from npas.arch.costs import running_cost
from npas.errors import InfeasibleBudgetError, InvalidSpecError
from npas.planning import sizes
from npas.planning.offers import offer_of, plans_of
from npas.planning.planner import fitting_sizes, solve
from npas.planning.problem import PlanningProblem
from npas.spec import ArchitectureSpec, NetworkSpec, PlanRequest
from npas.spec.search import LimitsSpec, SearchSpec
from torch.utils.flop_counter import FlopCounterMode

VARIED = ["wrn-10-1", "resnet-14", "densenet-10-4", "tiny-12-2", "resnext-11-2x64", "vit-2-16-4"]
SMALL = {"name": "wrn-10-1", "input_size": 8, "input_channels": 1}


def problem_of(architecture, **request):
    asked = {"architecture": architecture, "budget": {"fraction": 0.5}, "search": {"scale": True}}
    return PlanningProblem.of(PlanRequest.model_validate(asked | request), None)


def counted(spec):
    """The multiply-adds of a network for one image, by torch's own count of one that is run."""
    network = npas.build(spec, seed=0).train()
    with FlopCounterMode(display=False) as counter:
        network(arch.example_input(spec, num_examples=2))
    return counter.get_total_flops() / 2 / 2


def answer(problem):
    """What a problem offers, or the error."""
    try:
        return [offer_of(size) for size in fitting_sizes(problem)], None
    except (InfeasibleBudgetError, InvalidSpecError) as error:
        return [], error


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIED)
def test_offered_networks_keep_limits_that_are_counted_otherwise(name):
    found = npas.offered(name, budget={"fraction": 0.8}, method="ssn")
    assert len(found) > 1
    asked, *others = [offer.architecture for offer in found]
    assert asked == arch.resolve(arch.as_spec(name))
    most = sizes.MOST_MACS * counted(asked)
    for offer in found:
        assert counted(offer.architecture) == offer.macs <= most
        assert offer.parameters == offer.plan.ledger.total <= found[0].plan.ledger.budget
        assert offer.activation_bytes == npas.profile(offer.plan).peak_activation_bytes
    assert len({offer.network for offer in found}) == len(found) == 1 + len(others)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    fraction=st.floats(0.02, 1.5),
    macs=st.none() | st.integers(100_000, 4_000_000),
    activation_bytes=st.none() | st.integers(8_000, 60_000),
    method=st.sampled_from(["ssn", "uniform", "narrow", "dense"]),
)
def test_offers_keep_budget_and_limits_or_the_least_is_told(
    fraction, macs, activation_bytes, method
):
    request = {"budget": {"fraction": fraction}, "method": method}
    limits = {"macs": macs, "activation_bytes": activation_bytes}
    problem = problem_of(SMALL, **request, limits=limits)
    own = running_cost(problem.networks[0].architecture)
    is_small = own.macs <= (macs or own.macs)
    is_small &= own.activation_bytes <= (activation_bytes or own.activation_bytes)
    offers, error = answer(problem)
    if isinstance(error, InfeasibleBudgetError):
        assert error.minimum > problem.budget
        assert error.network in str(error)
        raised = problem_of(SMALL, **request | {"budget": error.minimum}, limits=limits)
        assert solve(raised).ledger.total == error.minimum
        return
    if error is not None:
        assert error.field == "/limits"
        assert not is_small
        return
    assert 1 <= len(offers) <= sizes.MAX_SIZES
    for offer in offers:
        assert offer.parameters <= problem.budget == offer.plan.ledger.budget
        assert offer.macs <= (macs or sizes.MOST_MACS * own.macs)
        assert offer.activation_bytes <= (activation_bytes or math.inf)
        assert offer.plan.dense == arch.layer_table(problem.networks).dense
    assert solve(problem).to_json() == offers[0].plan.to_json()
    again = [offer_of(size).plan.to_json() for size in fitting_sizes(problem)]
    assert again == [offer.plan.to_json() for offer in offers]


def test_network_that_was_asked_for_is_planned_where_it_can_be():
    plain = npas.plan(SMALL, budget={"fraction": 0.5})
    assert npas.plan(SMALL, budget={"fraction": 0.5}, search={"scale": True}) == plain
    offers = npas.offered(SMALL, budget={"fraction": 0.5})
    assert offers[0].plan == plain
    own = offers[0].macs
    small = npas.plan(
        SMALL, budget={"fraction": 0.5}, search={"scale": True}, limits={"macs": own - 1}
    )
    assert small.networks[0].architecture.options == {"scale": 0.7}
    assert small.dense == plain.dense > small.ledger.dense
    assert small.ledger.budget == plain.ledger.budget
    for wide in offers:
        assert npas.Plan.from_json(wide.plan.to_json()) == wide.plan
        assert (wide.plan.requested_dense is None) == (wide is offers[0])


@pytest.mark.slow
def test_wider_network_within_twice_has_the_stages_of_the_papers_wide_one():
    offers = npas.offered("wrn-28-10", budget={"fraction": 0.25}, method="uniform")
    (wide,) = [o for o in offers if o.architecture.options == {"scale": 1.4} and "28" in o.network]
    stages = {
        name: tensor.shape
        for name, tensor in npas.build("wrn-28-14", device="meta").state_dict().items()
        if name.startswith("stages.") and not name.startswith("stages.0.0.")
    }
    built = npas.build(wide.architecture, device="meta").state_dict()
    assert {name: built[name].shape for name in stages} == stages
    assert wide.network == "wrn-28-10 (scale 1.4)"
    assert wide.parameters < offers[0].dense_parameters < wide.dense_parameters


def test_sizes_are_spread_over_multiply_adds():
    problem = problem_of(SMALL, limits={"macs": 10**12})
    every = list(sizes.within(problem))
    kept = sizes.spread(every)
    assert len(every) > len(kept) == sizes.MAX_SIZES
    assert kept[0] == every[0]
    assert [size for size in every if size in kept] == list(kept)
    costs = [sizes.cost_of(size).macs for size in every]
    ends = {min(costs), max(costs)}
    assert ends <= {sizes.cost_of(size).macs for size in kept}
    plans = plans_of(problem_of(SMALL, limits={"macs": 10**6}))
    assert plans == tuple(
        o.plan for o in npas.offered(SMALL, budget={"fraction": 0.5}, limits={"macs": 10**6})
    )


def test_networks_of_one_size_offer_themselves_alone():
    for name in ("declared:lenet", "torchvision:squeezenet1_1"):
        (offer,) = npas.offered(name, budget={"fraction": 0.5}, method="ssn")
        assert offer.plan == npas.plan(name, budget={"fraction": 0.5}, method="ssn")
    request = PlanRequest.model_validate({"architecture": "wrn-10-1", "budget": 20_000})
    (offer,) = npas.offered(request)
    assert offer.plan == npas.plan(request)


def test_mobilenet_varies_in_width():
    spec = arch.resolve(ArchitectureSpec(name="torchvision:mobilenet_v2"))
    assert [each.options for each in arch.other_sizes(spec)] == [
        {"width_mult": width} for width in (0.7, 1.4, 2.0, 2.8)
    ]


@pytest.mark.slow
def test_budget_in_bytes_holds_for_every_size():
    found = npas.offered(SMALL, budget={"bytes": 20_000}, limits={"macs": 1_500_000})
    assert len(found) > 1
    assert {offer.plan.file.bytes for offer in found} == {20_000}
    with pytest.raises(InfeasibleBudgetError, match=r"bytes.*on wrn-10-1.*of all sizes") as caught:
        npas.offered(SMALL, budget={"bytes": 100})
    assert caught.value.unit == "bytes"


def test_layers_by_name_leave_out_sizes_that_have_them_not():
    names = ["stages.0.1.conv1.*"]  # the second block of a stage
    deep = {"name": "wrn-16-1", "input_size": 8, "input_channels": 1}
    found = npas.offered(deep, budget={"fraction": 0.8}, unshared=names)
    assert {offer.network.partition(" ")[0] for offer in found} == {"wrn-16-1", "wrn-22-1"}
    with pytest.raises(InvalidSpecError, match="unshared"):
        npas.offered(SMALL, budget={"fraction": 0.8}, unshared=names)


TWO = [NetworkSpec(name=name, architecture=ArchitectureSpec(name="wrn-10-1")) for name in "ab"]


@pytest.mark.parametrize(
    ("architecture", "given", "field", "told"),
    [
        (TWO, {}, "/search", "these are a, b: give one of them"),
        (torch.nn.Linear(4, 2), {}, "/search", "a module of your own has one size"),
        (SMALL, {"budget": None}, "/budget", "give a budget, or leave search out"),
        (SMALL, {"limits": {"macs": 0}}, "/limits/macs", "greater than or equal to 1; given: 0"),
        (SMALL, {"limits": 5}, "/limits", "give an object"),
        (SMALL, {"search": {"size": True}}, "/search/size", "there is no such field"),
        (SMALL, {"search": None, "limits": {"macs": 5}}, "/limits", "give search="),
        (SMALL, {"limits": {"macs": 9}}, "/limits", r"fewest macs are [\d,]+ \(wrn-10-1 \(scale"),
        (SMALL, {"evidence": npas.Evidence(batches=1, classes=())}, "/search", "evidence"),
    ],
)
def test_what_cannot_be_searched_is_refused(architecture, given, field, told):
    asked = {"budget": {"fraction": 0.5}, "search": {"scale": True}} | given
    with pytest.raises(InvalidSpecError, match=told) as caught:
        npas.plan(architecture, **asked)
    assert caught.value.field == field


def test_request_with_limits_and_no_search_is_refused():
    request = {"architecture": "wrn-10-1", "budget": 9000, "limits": {"macs": 5}}
    for search in ({}, {"search": {"scale": False}}):
        with pytest.raises(ValueError, match="give search"):
            PlanRequest.model_validate(request | search)
    found = PlanRequest.model_validate(request | {"search": {"scale": True}})
    assert (found.search, found.size_limits) == (SearchSpec(scale=True), LimitsSpec(macs=5))
    with pytest.raises(InvalidSpecError, match="a request has its own budget, dataset, search"):
        npas.plan(found, search={"scale": True})


def test_a_method_keeps_its_own_option_of_that_name():
    asked = {"budget": {"fraction": 0.5}, "method": "superweights"}
    assert npas.plan(SMALL, **asked, search=False).options == {"search": False}
    with pytest.raises(InvalidSpecError, match=r"option 'search' of method uniform"):
        npas.plan(SMALL, budget={"fraction": 0.5}, method="uniform", search=True)
