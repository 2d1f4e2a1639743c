"""Weights that something beside their layer holds: kept plain, or refused with the place."""

import functools

import npas
import pytest
import torch
from npas.arch.own.holders import alias, kept
from npas.arch.own.reading import read
from npas.errors import InvalidSpecError
from torch import nn
from torch.nn import functional as F
from torch.nn import utils

X = (torch.randn(2, 6),)


class Two(nn.Module):
    """Two layers, and what a test adds."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        return self.two(torch.relu(self.one(x)))


class Bag:
    """An object of the user's own."""

    def __init__(self, value):
        self.value = value


def held_in(change):
    module = Two()
    change(module, module.one.weight)
    return module


def attribute(module, value):
    module.two.held = value


ALIASES = {
    "attribute": (lambda m, w: attribute(m, w.detach()), "two.held"),
    "data": (lambda m, w: attribute(m, w.data), "two.held"),
    "view": (lambda m, w: attribute(m, w.t()), "two.held"),
    "row": (lambda m, w: attribute(m, w.data[3]), "two.held"),
    "list": (lambda m, w: attribute(m, [0, w.detach()]), r"two.held\[1\]"),
    "dict": (lambda m, w: attribute(m, {"a": (w.detach(),)}), r"two.held\['a'\]\[0\]"),
    "set": (lambda m, w: attribute(m, {w.detach()}), r"two.held\{...\}"),
    "object": (lambda m, w: attribute(m, Bag(w.detach())), "two.held.value"),
    "array": (lambda m, w: attribute(m, w.detach().numpy()), "two.held"),
    "other parameter": (lambda m, w: attribute(m, [nn.Parameter(w.data)]), r"two.held\[0\]"),
    "function": (
        lambda m, w: attribute(m, functools.partial(F.linear, weight=w.detach())),
        r"two.held\(...\)",
    ),
    "enclosed": (lambda m, w: attribute(m, (lambda d: lambda: d)(w.detach())), "two.held"),
    "hidden module": (lambda m, w: attribute(m, [hiding(w.detach())]), r"two.held\[0\].kept"),
    "hook": (
        lambda m, w: m.one.register_forward_hook((lambda d: lambda *_: d.sum() and None)(w.data)),
        "one._forward_hooks",
    ),
    "buffer": (lambda m, w: m.two.register_buffer("held", w.detach()), "two.held"),
    "buffer in no file": (
        lambda m, w: m.two.register_buffer("held", w.detach()[1:], persistent=False),
        "two.held",
    ),
}


def hiding(tensor):
    module = nn.Module()
    module.register_buffer("kept", tensor)
    return module


@pytest.mark.parametrize("kind", ALIASES)
def test_what_lies_in_a_weights_memory_is_refused_with_its_place(kind):
    change, where = ALIASES[kind]
    match = rf"{where}.* lies in the memory of one.weight"
    with pytest.raises(InvalidSpecError, match=match):
        npas.plan(held_in(change), budget={"fraction": 0.7}, method="ssn")
    plan = npas.plan(Two(), budget={"fraction": 0.7}, method="ssn")
    with pytest.raises(InvalidSpecError, match=match):
        npas.share(held_in(change), plan)


def test_no_alias_is_missed_on_the_meta_device():
    with torch.device("meta"):
        module = Two()
    assert alias(module) is None
    module.held = module.two.bias.detach()
    assert alias(module) == ("two.bias", "held")


KEPT = {
    "list": lambda m, w: attribute(m, [w]),
    "function": lambda m, w: attribute(m, functools.partial(F.linear, weight=w)),
    "enclosed": lambda m, w: attribute(m, lambda: w),
    "object": lambda m, w: attribute(m, Bag([w])),
    "hidden module": lambda m, w: attribute(m, [tied(w)]),
}


def tied(weight):
    module = nn.Linear(6, 6)
    module.weight = weight
    return module


@pytest.mark.parametrize("kind", KEPT)
def test_a_parameter_that_is_held_elsewhere_stays(kind):
    module = held_in(KEPT[kind])
    assert id(module.one.weight) in kept(module)
    assert [layer.name for layer in read(module, "main").layers] == ["two.weight"]
    plan = npas.plan(Two(), budget={"fraction": 0.7}, method="ssn")
    with pytest.raises(InvalidSpecError, match=r"one.weight is also held by two.held"):
        npas.share(module, plan)


def test_what_only_looks_like_it_shares():
    module = Two()
    module.copy = module.one.weight.detach().clone()
    module.me, module.method = [module], module.forward
    module.register_buffer("steps", torch.zeros(3))
    assert len(read(module, "main", X).layers) == 2
    computed = Two()
    utils.spectral_norm(computed.one)
    utils.prune.identity(computed.two, "weight")
    assert read(computed, "main").layers == ()


class Clamping(Two):
    """Writes into a weight wherever it runs, in one of the ways that people use."""

    def __init__(self, way):
        super().__init__()
        self.way = way

    def forward(self, x):
        self.way(self.one)
        return super().forward(x)


def through_data(layer):
    layer.weight.data.clamp_(-0.1, 0.1)


def without_gradients(layer):
    with torch.no_grad():
        layer.weight.copy_(layer.weight / layer.weight.norm())


def with_other_data(layer):
    layer.weight.data = torch.renorm(layer.weight.data, p=2, dim=0, maxnorm=0.1)


def with_another_parameter(layer):
    layer.weight = nn.Parameter(layer.weight.detach() * 0.9)


def of_a_row(layer):
    layer.weight.data[0] += 1


def of_several(layer):
    torch._foreach_mul_([layer.weight.data], 0.5)


WAYS = (
    *(through_data, without_gradients, with_other_data),
    *(with_another_parameter, of_a_row, of_several),
)


@pytest.mark.parametrize("way", WAYS)
def test_a_weight_that_forward_writes_into_stays_as_it_is(way):
    module = Clamping(way)
    parameters = [(name, id(each)) for name, each in module.named_parameters()]
    before = {name: each.clone() for name, each in module.state_dict().items()}
    with pytest.warns(UserWarning, match=r"plain weight one.weight: forward writes into it"):
        spec = read(module, "main", X)
    assert [layer.name for layer in spec.layers] == ["two.weight"]
    assert [(name, id(each)) for name, each in module.named_parameters()] == parameters
    for name, each in module.state_dict().items():
        assert torch.equal(each, before[name])
