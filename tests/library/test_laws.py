"""The laws of a plan on real networks: every method, many networks, 0.5 % to 300 % of dense."""

import copy
import math
from fractions import Fraction

import npas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from npas import arch, registry
from npas.errors import InfeasibleBudgetError
from npas.spec import ArchitectureSpec, BudgetSpec, NetworkSpec

METHODS = registry.names("npas.methods")
ANY = settings(deadline=None, derandomize=True, max_examples=40)
FRACTIONS = (0.005, 0.03, 0.1, 0.3, 0.6, 0.9, 0.99, 1.0, 1.01, 1.7, 3.0)


def several(*names, size=None):
    return [
        NetworkSpec(name=f"n{i}", architecture=ArchitectureSpec(name=name, input_size=size))
        for i, name in enumerate(names)
    ]


BUILT = {
    "wrn": several("wrn-16-2"),
    "resnet": several("resnet-20"),
    "squeezenet": several("torchvision:squeezenet1_1"),
    "shufflenet": several("torchvision:shufflenet_v2_x0_5"),
    "mobilenet": several("torchvision:mobilenet_v3_small"),
    "two": several("wrn-16-1", "resnet-14"),
    "three": several("wrn-22-1", "wrn-10-2", "resnet-8"),
    "same": several("resnet-14", "resnet-14"),
}
PLANNED = BUILT | {
    "wide": several("wrn-28-10"),
    "deep": several("resnet-110"),
    "attention": several("torchvision:swin_t"),
    "tokens": several("torchvision:vit_b_16"),
    "grouped": several("torchvision:resnext50_32x4d"),
    "mixed": several("torchvision:resnet18", "wrn-28-4", "torchvision:efficientnet_b0", size=64),
}
every_method = pytest.mark.parametrize("method", METHODS)


def plan_or_minimum(networks, method, fraction, **options):
    """Return the plan for a share of the dense size, or the plan at the minimum."""
    try:
        return npas.plan(networks, budget=BudgetSpec(fraction=fraction), method=method, **options)
    except InfeasibleBudgetError as error:
        least = error.minimum
    return npas.plan(networks, budget=least, method=method, **options)


def built(networks, plan, seed=0, **how):
    modules = {n.name: npas.build(n.architecture, seed=seed) for n in networks}
    return npas.share(modules, plan, seed=seed, **how)


@every_method
@pytest.mark.parametrize("request_name", PLANNED)
def test_plan_keeps_budget_and_covers_every_layer(request_name, method, covers, scalars):
    networks = PLANNED[request_name]
    table = arch.layer_table(npas.plan(networks, method="dense").networks)
    for fraction in FRACTIONS if method != "dense" else (0.5, 1.0, 3.0):
        plan = plan_or_minimum(networks, method, fraction)
        ledger = plan.ledger
        covers(table, plan.groups, plan.private)
        assert ledger.total == scalars(plan.groups, plan.private, table.others)
        assert ledger.total == ledger.templates + ledger.coefficients + ledger.private
        assert ledger.total <= ledger.budget == ledger.total + ledger.unused
        assert ledger.budget == max(
            plan.minimum, math.floor(Fraction(str(fraction)) * table.dense)
        )
        assert ledger.dense == table.dense


@every_method
@pytest.mark.parametrize("request_name", PLANNED)
def test_minimum_is_feasible_and_one_less_is_not(request_name, method):
    networks = PLANNED[request_name]
    with pytest.raises(InfeasibleBudgetError) as caught:
        npas.plan(networks, budget=1, method=method)
    least = caught.value.minimum
    plan = npas.plan(networks, budget=least, method=method)
    assert (plan.minimum, plan.ledger.total) == (least, least)
    with pytest.raises(InfeasibleBudgetError):
        npas.plan(networks, budget=least - 1, method=method)
    assert least <= plan.ledger.dense


@every_method
@ANY
@given(
    request_name=st.sampled_from(sorted(BUILT)),
    fraction=st.one_of(st.floats(0.005, 3), st.sampled_from(FRACTIONS)),
    stage=st.sampled_from(["train", "train", "search"]),
)
def test_built_network_has_what_the_ledger_says(method, recount, request_name, fraction, stage):
    networks = BUILT[request_name]
    plan = plan_or_minimum(networks, method, fraction, stage=stage)
    model = built(networks, plan)
    assert recount(model) == plan.ledger.total <= plan.ledger.budget
    for group in plan.groups:
        weights = model.groups[group.name]()
        assert [tuple(w.shape) for w in weights] == [slot.shape for slot in group.slots]
        sum((w * (0.1 + torch.rand_like(w))).sum() for w in weights).backward()
        for parameter in model.groups[group.name].parameters():
            assert parameter.grad.count_nonzero() == parameter.numel()


@every_method
@pytest.mark.parametrize("request_name", ["wrn", "two", "mobilenet"])
@pytest.mark.parametrize("fraction", [0.2, 0.7, 2.0])
def test_weights_start_at_the_variance_of_their_fan_in(request_name, method, fraction):
    plan = plan_or_minimum(BUILT[request_name], method, fraction)
    model = built(BUILT[request_name], plan)
    for group in plan.groups:
        weights = model.groups[group.name]()
        for slot, weight in zip(group.slots, weights, strict=True):
            wanted = math.sqrt(2 / math.prod(slot.shape[1:]))
            if weight.numel() >= 2000:
                assert weight.std().item() == pytest.approx(wanted, rel=0.1)
                assert abs(weight.mean().item()) < 0.1 * wanted


def images(count=2, size=64):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(4))


@every_method
@pytest.mark.parametrize("request_name", BUILT)
def test_dense_budget_represents_the_dense_network_exactly(request_name, method):
    networks = BUILT[request_name]
    plan = npas.plan(networks, budget=BudgetSpec(fraction=1.0), method=method)
    modules = {n.name: npas.build(n.architecture, seed=7).eval() for n in networks}
    model = npas.share(copy.deepcopy(modules), plan, fit=True).eval()
    with torch.no_grad():
        members = model.members(images())
        for name, module in modules.items():
            assert torch.equal(members[name], module(images()))


@pytest.mark.parametrize("method", ["soft_sharing", "superweights"])
@pytest.mark.parametrize("request_name", ["wrn", "resnet", "three"])
def test_budget_above_dense_is_used_and_still_holds_the_dense_network(request_name, method):
    networks = BUILT[request_name]
    plan = npas.plan(networks, budget=BudgetSpec(fraction=1.8), method=method)
    assert plan.ledger.dense < plan.ledger.total <= plan.ledger.budget
    modules = {n.name: npas.build(n.architecture, seed=7).eval() for n in networks}
    model = npas.share(copy.deepcopy(modules), plan, fit=True).eval()
    with torch.no_grad():
        members = model.members(images())
        for name, module in modules.items():
            torch.testing.assert_close(members[name], module(images()), rtol=1e-3, atol=1e-3)


@every_method
@pytest.mark.parametrize("request_name", ["wrn", "two", "wide", "tokens"])
def test_more_than_can_be_used_is_reported_unused(request_name, method):
    plan = npas.plan(PLANNED[request_name], budget=10**10, method=method)
    assert plan.ledger.unused == 10**10 - plan.ledger.total > 0


@every_method
def test_no_budget_means_the_dense_size(method):
    plan = npas.plan("resnet-20", method=method)
    assert plan.ledger.total == plan.ledger.budget == plan.ledger.dense
    assert plan.ledger.unused == 0


@every_method
@pytest.mark.parametrize("request_name", ["wrn", "three"])
def test_same_seed_gives_the_same_network(request_name, method):
    plan = plan_or_minimum(BUILT[request_name], method, 0.5)
    one, other, third = (built(BUILT[request_name], plan, seed) for seed in (1, 1, 2))
    pairs = [(value, other.state_dict()[name]) for name, value in one.state_dict().items()]
    assert all(torch.equal(a, b) for a, b in pairs)
    differs = [
        not torch.equal(value, third.state_dict()[name])
        for name, value in one.state_dict().items()
        if name.startswith("groups") and "templates" in name
    ]
    assert all(differs)


@every_method
def test_sharing_does_not_touch_the_random_state(method):
    plan = plan_or_minimum(BUILT["wrn"], method, 0.5)
    modules = {"n0": npas.build("wrn-16-2")}
    before = torch.get_rng_state()
    npas.share(modules, plan)
    npas.build("wrn-16-2", seed=3)
    npas.build("wrn-16-2", device="meta")
    assert torch.equal(torch.get_rng_state(), before)
