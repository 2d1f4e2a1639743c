"""Hidden units in another order: networks say the same, and layers are nearer to each other."""

import itertools

import npas
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from npas.sharing.alignment import align
from npas.sharing.alignment.assignment import assignment
from npas.sharing.alignment.hidden import hidden_units
from npas.testing.networks import several
from torch import nn
from torch.nn import functional as F


def used(network):
    """A network in evaluation mode whose every parameter and statistic is its own."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator)
                tensor.add_(0.1 * noise)
    return network.eval()


def keys(network):
    return {("n", name) for name, _ in network.named_parameters()}


@given(st.integers(1, 6), st.integers(0, 10_000))
def test_assignment_is_the_best_of_all(size, seed):
    gain = np.random.default_rng(seed).integers(-4, 5, (size, size)).astype(float)
    found = assignment(gain)
    rows = range(size)
    assert sorted(found) == [*rows]
    best = max(
        sum(gain[r, c] for r, c in zip(rows, p, strict=True)) for p in itertools.permutations(rows)
    )
    assert gain[rows, found].sum() == best


def test_declared_network_has_the_hidden_units_of_the_module():
    module = npas.build("resnet-14")
    declared = npas.build(npas.declare(module, torch.randn(2, 3, 32, 32)))
    assert len(hidden_units(declared)) == len(hidden_units(module)) == 6


@pytest.mark.parametrize(
    ("name", "size", "groups", "changed"),
    [
        ("resnet-14", 8, 6, 3),
        ("wrn-16-1", 8, 6, 3),
        ("vit-2-128-4", 8, 4, 2),
        ("torchvision:resnet18", 32, 8, 4),
        ("resnext-11-2x8", 8, 0, 0),
    ],
)
def test_network_says_the_same_in_another_order(name, size, groups, changed):
    network = used(npas.build(several(name, size=size)[0].architecture, seed=0)).double()
    assert len(hidden_units(network)) == groups
    before = {n: t.clone() for n, t in network.state_dict().items()}
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        wanted = network(x)
        assert align({"n": network}, keys(network)) == changed
        torch.testing.assert_close(network(x), wanted, rtol=1e-10, atol=1e-10)  # order of sums
    moved = [n for n, t in network.state_dict().items() if not torch.equal(t, before[n])]
    assert bool(moved) == bool(changed)


class Stack(nn.Module):
    """Blocks of two linear layers, the second's inner units those of the first, shuffled."""

    def __init__(self, orders):
        super().__init__()
        first = [nn.Linear(6, 8) for _ in orders]
        self.inner, self.outer = (
            nn.ModuleList(first),
            nn.ModuleList(nn.Linear(8, 6) for _ in orders),
        )
        with torch.no_grad():
            for one, two, order in zip(self.inner, self.outer, orders, strict=True):
                one.weight.copy_(self.inner[0].weight[order])
                one.bias.copy_(self.inner[0].bias[order])
                two.weight.copy_(self.outer[0].weight[:, order])

    def forward(self, x):
        for one, two in zip(self.inner, self.outer, strict=True):
            x = x + two(F.gelu(one(x)))
        return x


def test_shuffled_blocks_become_equal():
    draw = torch.Generator().manual_seed(0)
    orders = [torch.arange(8), *(torch.randperm(8, generator=draw) for _ in range(2))]
    network = Stack(orders)
    assert align({"n": network}, keys(network)) == 2
    for one, two in zip(network.inner, network.outer, strict=True):
        assert torch.equal(one.weight, network.inner[0].weight)
        assert torch.equal(one.bias, network.inner[0].bias)
        assert torch.equal(two.weight, network.outer[0].weight)


def test_what_must_not_change_does_not_and_what_is_not_fitted_does_not():
    orders = [torch.arange(8), torch.arange(8).flip(0)]
    for fitted, fixed in ((set(), set()), (None, {("n", "inner.1.bias")})):
        network = Stack(orders)
        assert align({"n": network}, keys(network) if fitted is None else fitted, fixed) == 0
        assert torch.equal(network.inner[1].weight, network.inner[0].weight.flip(0))


def test_blocks_of_two_networks_agree():
    pair = {"n": Stack([torch.arange(8)]), "m": Stack([torch.arange(8)])}
    with torch.no_grad():
        for mine, theirs in zip(pair["m"].parameters(), pair["n"].parameters(), strict=True):
            mine.copy_(theirs)
        pair["m"].inner[0].weight.copy_(pair["n"].inner[0].weight.flip(0))
        pair["m"].outer[0].weight.copy_(pair["n"].outer[0].weight.flip(1))
    assert align(pair, {("m", "inner.0.weight")}) == 1
    assert torch.equal(pair["m"].inner[0].weight, pair["n"].inner[0].weight)


class Branching(Stack):
    """Inner units that something else reads, too."""

    def forward(self, x):
        inner = self.inner[0](x)
        return (
            self.outer[0](inner).sum() + inner[:, 0].sum() + self.outer[1](self.inner[1](x)).sum()
        )


class Twice(Stack):
    """A layer that is called twice."""

    def forward(self, x):
        return self.outer[0](self.inner[0](self.outer[0](self.inner[0](x))))


class Deciding(Stack):
    """What it does depends on its input."""

    def forward(self, x):
        return self.outer[0](self.inner[0](x)) if x.sum() > 0 else x


@pytest.mark.parametrize(("kind", "found"), [(Branching, 1), (Twice, 0), (Deciding, 0)])
def test_units_that_cannot_move_are_left_out(kind, found):
    assert len(hidden_units(kind([torch.arange(8)] * 2))) == found


def test_tied_weights_are_left_out():
    network = Stack([torch.arange(8)] * 2)
    network.inner[1].weight = network.inner[0].weight
    assert hidden_units(network) == []


@pytest.mark.parametrize(
    ("between", "found"),
    [
        ([nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)], 1),
        ([nn.Conv2d(4, 4, 3, groups=4), nn.SiLU()], 1),
        ([nn.GroupNorm(2, 4)], 0),
        ([nn.Softmax(1)], 0),
        ([nn.MaxPool2d(2, return_indices=True)], 0),
        ([nn.PixelShuffle(2)], 0),
    ],
)
def test_units_go_only_through_what_treats_each_by_itself(between, found):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), *between, nn.Conv2d(4, 2, 1))
    assert len(hidden_units(network)) == found


def scaled(module):
    module.register_forward_hook(lambda _module, _given, out: out * torch.arange(8.0))


@pytest.mark.parametrize(
    ("path", "change", "found"),
    [
        ("0", scaled, 0),
        ("1", scaled, 0),  # a container in between
        ("1.0", lambda each: each.register_forward_pre_hook(lambda *_: None), 0),
        ("1.0", lambda each: each.register_full_backward_hook(lambda *_: None), 0),
        ("2", lambda each: each.register_full_backward_pre_hook(lambda *_: None), 0),
        ("0", lambda each: torch.nn.utils.parametrizations.weight_norm(each), 0),
        ("", scaled, 1),  # the whole: its hooks see no hidden unit
    ],
)
def test_hooks_may_tell_units_apart(path, change, found):
    network = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.ReLU()), nn.Linear(8, 8))
    assert len(hidden_units(network)) == 1
    change(network.get_submodule(path))
    assert len(hidden_units(network)) == found


def test_hooks_around_whole_blocks_keep_their_units():
    network = nn.Sequential(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8)))
    network[0].register_forward_hook(lambda *_: None)
    assert len(hidden_units(network)) == 1
