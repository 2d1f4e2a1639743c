"""Shared networks in the memory format that convolutions are often quicker in."""

import copy

import npas
import pytest
import torch
from npas import registry
from npas.recipes import _memory_format
from npas.sharing.layout import Layout
from npas.spec import ArchitectureSpec, BudgetSpec, NetworkSpec
from torch.nn import functional as F

UNSHARED = ("auto", "dense", "narrow")
METHODS = [name for name in registry.names("npas.methods") if name not in UNSHARED]
LAST = torch.channels_last
X = torch.randn(3, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = torch.arange(3)


def made(method="superweights", fraction=0.75, name="wrn-10-2", **options):
    plan = npas.plan(name, budget=BudgetSpec(fraction=fraction), method=method, **options)
    network = npas.build(plan.networks[0].architecture, seed=1)
    return npas.share(network, plan, seed=1).double()


def pair():
    return [
        NetworkSpec(name=name, architecture=ArchitectureSpec(name=name))
        for name in ("wrn-10-1", "wrn-16-1")
    ]


def weights(model):
    return [weight for group in model.groups.values() for weight in group.weights()]


def are_last(found):
    return all(each.is_contiguous(memory_format=LAST) for each in found if each.dim() == 4)


def trained_once(model, x):
    logits = model.eval()(x)
    F.cross_entropy(logits, Y).backward()
    return [logits.detach(), *(parameter.grad for parameter in model.parameters())]


@pytest.mark.parametrize("fraction", [0.2, 0.75])
@pytest.mark.parametrize("method", METHODS)
def test_outputs_and_gradients_are_those_of_the_contiguous_network(method, fraction):
    """Within the rounding of float64: sums are taken in another order."""
    options = {"name": "wrn-16-1", "fraction": 0.75} if method == "soft_sharing" else {}
    model = made(method, **{"fraction": fraction, **options})
    last = copy.deepcopy(model).to(memory_format=LAST)
    wanted = trained_once(model, X)
    found = trained_once(last, X.to(memory_format=LAST))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    assert are_last(weights(last))
    assert not are_last(weights(model))


def test_loops_are_channels_last():
    looped = npas.fold(made("soft_sharing", name="wrn-16-1"), 0.1).model
    last = copy.deepcopy(looped).to(memory_format=LAST)
    assert any(group.recipe == "loop" for group in looped.plan.groups)
    wanted = trained_once(looped, X)
    torch.testing.assert_close(trained_once(last, X), wanted, rtol=1e-9, atol=1e-12)
    assert are_last(weights(last))


def test_format_may_change_between_steps():
    model = made()
    with torch.no_grad():
        wanted = model.eval()(X)
        for format_, is_last in ((LAST, True), (torch.contiguous_format, False), (LAST, True)):
            torch.testing.assert_close(model.to(memory_format=format_)(X), wanted)
            assert are_last(weights(model)) == is_last
            assert are_last(weights(model.float().double())) == is_last


def test_state_and_file_do_not_know_the_format(tmp_path):
    model = made().float()
    last = copy.deepcopy(model).to(memory_format=LAST)
    state = last.state_dict()
    assert state.keys() == model.state_dict().keys()
    npas.save(last, tmp_path / "last.safetensors")
    loaded = npas.load(tmp_path / "last.safetensors")
    for name, tensor in model.state_dict().items():
        assert torch.equal(state[name], tensor)
        assert torch.equal(loaded.state_dict()[name], tensor)
    model.load_state_dict(state)


def test_what_is_made_of_a_channels_last_network_is_so_too():
    model = made().to(memory_format=LAST)
    model(X)
    plain = model.materialise()["main"]
    assert are_last(plain.parameters())
    assert not all(each.is_contiguous() for each in plain.parameters())
    other = npas.plan("wrn-10-2", budget=BudgetSpec(fraction=0.5), method="block_mix")
    for found in (model.regroup(other), npas.share(plain, model.plan), copy.deepcopy(model)):
        assert are_last(weights(found))


def test_one_network_of_several_is_channels_last_as_they_are():
    plan = npas.plan(pair(), budget=BudgetSpec(fraction=0.4), method="superweights")
    built = {each.name: npas.build(each.architecture, seed=1) for each in plan.networks}
    model = npas.share(built, plan).to(memory_format=LAST)
    assert are_last(weights(model.member("wrn-16-1")))


def test_volumes_are_channels_last_by_their_own_name():
    layout = Layout([(4, 2, 3, 3, 3), (4, 2)]).to(memory_format=torch.channels_last_3d)
    weight = torch.randn(4, 2, 3, 3, 3)
    with layout.in_use():
        (found,) = layout.laid([weight])
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(found, weight)
    assert Layout([(4, 2)]).ranks() == frozenset()


@pytest.mark.parametrize("shape", [(4, 3, 2, 2), (2, 5, 1, 1), (2, 3, 3, 1, 2), (3, 4)])
def test_scalars_in_order_are_those_of_the_weight(shape):
    templates = torch.randn(2, torch.Size(shape).numel())
    with _memory_format.channels_last(frozenset({4, 5})):
        ordered = _memory_format.in_order(templates, shape)
        found = [_memory_format.shaped(row, shape) for row in ordered]
        rows = _memory_format.rows_shaped(ordered, shape)
        assert torch.equal(_memory_format.out_of_order(ordered, shape), templates)
        assert all(_memory_format.is_as_wanted(weight) for weight in found)
        assert _memory_format.is_as_wanted(_memory_format.packed(found[0][:1]))
    for wanted, one, other in zip(templates, found, rows, strict=True):
        assert torch.equal(one, wanted.view(shape))
        assert torch.equal(other, wanted.view(shape))
