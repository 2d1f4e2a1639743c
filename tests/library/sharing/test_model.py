"""What a shared network is as a module: copies, precision, regrouping, plain networks."""

import copy

import npas
import pytest
import torch
from npas import registry
from npas.errors import InvalidSpecError, PlanError, UnknownNameError
from npas.sharing.measure import gradient_agreement
from npas.spec import ArchitectureSpec, BudgetSpec, NetworkSpec
from torch import nn

METHODS = registry.names("npas.methods")
BOTH = [("block_mix", 0.4), ("soft_sharing", 0.75)]
both_methods = pytest.mark.parametrize(("method", "fraction"), BOTH)


def made(method="block_mix", fraction=0.4, name="wrn-16-1", **options):
    plan = npas.plan(name, budget=BudgetSpec(fraction=fraction), method=method, **options)
    return npas.share(npas.build(name, seed=2), plan, seed=2)


def images(count=4, size=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, size, size, generator=generator)


def outputs(model, x=None):
    with torch.no_grad():
        return model(images() if x is None else x)


def step(model, learning_rate=0.05):
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    model(images()).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_share_takes_the_module_over_and_keeps_what_is_private():
    network = npas.build("wrn-16-1", seed=1)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    plan = npas.plan("wrn-16-1", budget=BudgetSpec(fraction=0.4))
    shared = npas.share(network, plan)
    assert shared.network("main") is network
    generated = {slot.layer for group in plan.groups for slot in group.slots}
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, before.pop(name))
    assert set(before) == generated


def test_coefficients_are_named_so_that_they_escape_weight_decay():
    model = made("soft_sharing", 0.75)
    named = [p for name, p in model.named_parameters() if "coefficients" in name]
    assert sum(p.numel() for p in named) == model.plan.ledger.coefficients
    templates = [p for name, p in model.named_parameters() if "templates" in name]
    assert sum(p.numel() for p in templates) == model.plan.ledger.templates


@both_methods
def test_every_parameter_gets_a_gradient(method, fraction):
    model = made(method, fraction)
    model(images()).logsumexp(1).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@both_methods
def test_deepcopy_is_another_network_with_the_same_outputs(method, fraction):
    model = made(method, fraction)
    model(images()).sum().backward()
    twin = copy.deepcopy(model)
    before = outputs(model.eval())
    assert torch.equal(outputs(twin.eval()), before)
    step(twin)
    assert torch.equal(outputs(model), before)
    assert not torch.equal(outputs(twin.eval()), before)
    assert not {id(p) for p in model.parameters()} & {id(p) for p in twin.parameters()}
    step(model)
    assert twin.plan == model.plan


@both_methods
def test_state_dict_comes_back(method, fraction):
    model = made(method, fraction)
    step(model)
    other = made(method, fraction)
    other.load_state_dict(model.state_dict())
    assert torch.equal(outputs(other.eval()), outputs(model.eval()))
    names = set(model.state_dict())
    assert len([n for n in names if n.startswith("groups.")]) == sum(
        len(group.banks) + sum(bank.rows > 0 for bank in group.banks)
        for group in model.plan.groups
    )


@both_methods
def test_materialise_gives_plain_networks_and_leaves_the_model(method, fraction):
    model = made(method, fraction)
    step(model)
    model.eval()
    before = outputs(model)
    plain = model.materialise()["main"]
    assert not any("groups" in name for name in plain.state_dict())
    assert list(plain.state_dict()) != []
    fresh = npas.build("wrn-16-1")
    fresh.load_state_dict(plain.state_dict())
    assert torch.equal(outputs(fresh.eval()), before)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.zero_()
    assert torch.equal(outputs(model), before)


@both_methods
def test_regroup_to_plain_weights_keeps_outputs(method, fraction):
    model = made(method, fraction)
    step(model)
    model.eval()
    before = outputs(model)
    dense = model.regroup(npas.plan("wrn-16-1", method="dense"))
    assert torch.equal(outputs(dense.eval()), before)
    assert torch.equal(outputs(model), before)


def test_regroup_to_its_own_plan_keeps_outputs_nearly():
    """One truncated SVD per bank finds the templates again, up to a change of basis."""
    model = made("soft_sharing", 0.75)
    step(model)
    again = model.eval().regroup(model.plan).eval()
    torch.testing.assert_close(outputs(again), outputs(model), rtol=1e-3, atol=1e-3)


def test_regroup_from_tied_search_plan_keeps_all_weights():
    """A group that is split keeps its weights: the search stage is not thrown away."""
    search = made("block_mix", 0.4, stage="search")
    step(search)
    search.eval()
    finer = npas.plan("wrn-16-1", budget=search.plan.ledger.budget)
    weights = dict(search.materialise()["main"].named_parameters())
    after = dict(search.regroup(finer).materialise()["main"].named_parameters())
    for name in weights:
        assert after[name].shape == weights[name].shape
        assert torch.isfinite(after[name]).all()
    for layer in finer.private:
        assert torch.equal(after[layer.layer], weights[layer.layer])


def test_regroup_keeps_mode_and_extra():
    model = made()
    model.extra = {"note": 1}
    plan = npas.plan("wrn-16-1", method="dense")
    for mode in (True, False):
        regrouped = model.train(mode).regroup(plan)
        assert [m.training for m in regrouped.modules()] == [mode] * len([*regrouped.modules()])
        assert regrouped.extra == {"note": 1}


def test_regroup_refuses_another_networks_plan():
    with pytest.raises(PlanError):
        made().regroup(npas.plan("wrn-10-1"))


@both_methods
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_model_works_in_another_precision(method, fraction, dtype):
    model = made(method, fraction)
    model(images()).sum().backward()
    reference = outputs(model.eval())
    model.to(dtype)
    found = outputs(model, images().to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), reference, rtol=0.1, atol=0.1)
    model.train()(images().to(dtype)).sum().backward()
    assert {p.grad.dtype for p in model.parameters()} == {dtype}
    back = outputs(model.float().eval())
    assert back.dtype == torch.float32


@both_methods
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_share_and_regroup_keep_the_networks_precision(method, fraction, dtype):
    plan = npas.plan("wrn-16-1", budget=BudgetSpec(fraction=fraction), method=method)
    model = npas.share(npas.build("wrn-16-1", seed=2).to(dtype), plan, seed=2)
    assert {p.dtype for p in model.parameters()} == {dtype}
    model(images().to(dtype)).sum().backward()
    again = model.eval().regroup(npas.plan("wrn-16-1", budget=BudgetSpec(fraction=0.8)))
    assert {p.dtype for p in again.parameters()} == {dtype}
    assert outputs(again, images().to(dtype)).dtype == dtype


def refined(model, x, y):
    """Measure, plan anew and regroup."""
    evidence = gradient_agreement(model, [(x, y)])
    plan = npas.plan("wrn-16-1", budget=BudgetSpec(fraction=0.5), evidence=evidence)
    return model.eval().regroup(plan)


def test_another_default_device_changes_nothing():
    """As after torch.set_default_device("cuda"); meta is the device that every machine has."""
    x, y = images(), torch.zeros(4, dtype=torch.long)
    wanted = refined(made(), x, y)
    with torch.device("meta"):
        found = refined(made(), x, y)
    assert found.plan == wanted.plan
    assert {p.device.type for p in found.parameters()} == {"cpu"}
    assert torch.equal(outputs(found, x), outputs(wanted, x))


def test_gains_survive_a_trip_through_low_precision():
    model = made().eval()
    twin = copy.deepcopy(model)
    outputs(twin.bfloat16(), images().bfloat16())
    twin.float().load_state_dict(model.state_dict())
    assert torch.equal(outputs(twin), outputs(model))


@both_methods
def test_autocast_keeps_banks_and_their_gradients_exact(method, fraction):
    """Weights are composed in float32, and a backward pass inside autocast changes nothing."""
    model = made(method, fraction).eval()
    gradients = []
    for is_inside in (True, False):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(images())
            loss = logits.float().square().mean()
            if is_inside:
                loss.backward()
        if not is_inside:
            loss.backward()
        assert logits.dtype == torch.bfloat16
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    with torch.autocast("cpu", torch.bfloat16):
        model.zero_grad()
        weights = [w for group in model.groups.values() for w in group()]
    assert {w.dtype for w in weights} == {torch.float32}


def test_layers_that_a_pass_does_not_use_are_no_obstacle():
    """Two members, a loss of only one: the other's coefficients get nothing, the banks do."""
    networks = [
        NetworkSpec(name=name, architecture=ArchitectureSpec(name="resnet-14"))
        for name in ("used", "idle")
    ]
    plan = npas.plan(networks, budget=BudgetSpec(fraction=0.3))
    model = npas.share({n.name: npas.build("resnet-14") for n in networks}, plan)
    model.members(images())["used"].square().mean().backward()
    idle = model.network("idle").parameters()
    assert all(p.grad is None or not p.grad.any() for p in idle)
    for group, spec in zip(model.groups.values(), plan.groups, strict=True):
        if any(slot.network == "used" for slot in spec.slots):
            assert any(t.grad.any() for t in group.templates)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert outputs(model.eval())["idle"].isfinite().all()


def test_frozen_banks_stay_and_let_gradients_through():
    model = made()
    for group in model.groups.values():
        group.requires_grad_(False)
    before = copy.deepcopy(model.groups.state_dict())
    step(model)
    assert all(torch.equal(t, before[n]) for n, t in model.groups.state_dict().items())
    assert all(p.grad is None for p in model.groups.parameters())


def test_second_derivative_is_refused_clearly():
    model = made().eval()
    parameters = list(model.groups.parameters())
    first = torch.autograd.grad(
        model(images()).square().mean(), parameters, create_graph=True, allow_unused=True
    )
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        sum(g.square().sum() for g in first).backward()


def test_functional_call_uses_the_given_banks():
    model = made().eval()
    before = outputs(model)
    given = {name: p.detach() * 1.1 for name, p in model.named_parameters()}
    with torch.no_grad():
        found = torch.func.functional_call(model, given, (images(),))
    assert torch.equal(outputs(model), before)
    other = made().eval()
    other.load_state_dict({**model.state_dict(), **given})
    assert torch.equal(found, outputs(other))


def test_functional_call_gives_the_gradients_of_the_given_banks():
    model = made().eval()
    given = {n: (p.detach() * 1.1).requires_grad_() for n, p in model.named_parameters()}
    torch.func.functional_call(model, given, (images(),)).square().mean().backward()
    other = made().eval()
    other.load_state_dict({**model.state_dict(), **given})
    other(images()).square().mean().backward()
    assert all(torch.equal(given[n].grad, p.grad) for n, p in other.named_parameters())


def test_model_on_the_meta_device_counts_and_runs():
    plan = npas.plan("wrn-16-1", budget=BudgetSpec(fraction=0.4))
    model = npas.share(npas.build("wrn-16-1", device="meta"), plan)
    assert sum(p.numel() for p in model.parameters()) == plan.ledger.total
    model(images().to("meta")).sum().backward()
    assert all(p.grad.shape == p.shape for p in model.parameters())


def test_one_network_gives_logits_and_several_give_them_by_name():
    assert isinstance(outputs(made()), torch.Tensor)
    networks = [
        NetworkSpec(name=name, architecture=ArchitectureSpec(name="wrn-10-1"))
        for name in ("one", "two")
    ]
    plan = npas.plan(networks)
    model = npas.share({n.name: npas.build("wrn-10-1") for n in networks}, plan)
    assert list(outputs(model)) == ["one", "two"]
    assert isinstance(model.network("two"), nn.Module)
    with pytest.raises(PlanError, match="plan is for networks"):
        npas.share(npas.build("wrn-10-1"), plan)


@pytest.mark.parametrize(
    "function",
    [
        lambda model: npas.save(model, "never.safetensors"),
        *(npas.fold, npas.loops, npas.similarity),
    ],
    ids=["save", "fold", "loops", "similarity"],
)
def test_what_is_no_shared_network_is_refused_with_the_way_to_one(function):
    plan = npas.plan("wrn-16-1", method="soft_sharing", templates=1)
    model = npas.share(npas.build("wrn-16-1"), plan)
    for wrong, told in (
        (nn.Conv2d(3, 4, 3), r"a plain Conv2d module.*npas\.share\(npas\.build"),
        (model.materialise()["main"], r"a plain \w+ module.*not materialised"),
        (npas.fold(model), r"a Folded, .*\.model"),
        (plan, r"a Plan, .*npas\.share"),
        ("wrn-16-1", r"a str, .*npas\.load"),
    ):
        with pytest.raises(InvalidSpecError, match=f"this is {told}"):
            function(wrong)


@pytest.mark.parametrize(
    ("networks", "told"),
    [
        *(("resnet-8", "of type str"), (None, "of type NoneType"), ([1], "of type list")),
        ({"main": "resnet-8"}, "network main is of type str.*npas.build"),
    ],
)
def test_share_refuses_what_is_no_module(networks, told):
    with pytest.raises(InvalidSpecError, match=told):
        npas.share(networks, npas.plan("resnet-8", method="dense"))


def test_network_of_another_name_is_refused():
    with pytest.raises(UnknownNameError, match=r"unknown network 'mian': did you mean main\?"):
        made().network("mian")


def test_share_refuses_what_is_no_plan_and_what_shares_already():
    model = made()
    for wrong in ("block_mix", None, npas.build("resnet-8")):
        with pytest.raises(PlanError, match=r"plan is a .*, not a plan; npas\.plan"):
            npas.share(npas.build("resnet-8"), wrong)
        with pytest.raises(PlanError, match="not a plan"):
            model.regroup(wrong)
    with pytest.raises(InvalidSpecError, match=r"shares by a plan already.*regroup"):
        npas.share(model, model.plan)
