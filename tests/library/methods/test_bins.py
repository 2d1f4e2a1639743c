"""Bins before anything is measured, and templates distributed out in proportion."""

from collections import defaultdict

import npas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from npas import arch
from npas.arch.layers import LayerTable
from npas.arch.matching import resolve_for
from npas.methods._bins import bins_of, coarser, finer
from npas.methods._levels import level
from npas.methods._parts import cost, parts_of
from npas.spec import ArchitectureSpec, NetworkSpec

MANY = settings(deadline=None, derandomize=True, max_examples=100)
every_mode = pytest.mark.parametrize("by", ["depth", "layers"])


def runs(layers):
    """Return the layers of each kernel class and network, in their order."""
    found = defaultdict(list)
    for layer in layers:
        found[layer.kernel_class, layer.network].append(layer)
    return found


@every_mode
@MANY
@given(table=st.from_type(LayerTable), bins=st.integers(1, 20))
def test_bins_hold_every_layer_once_and_one_kernel_class(by, table, bins):
    found = bins_of(table.layers, bins, by)
    assert sorted(la.name for b in found for la in b) == sorted(la.name for la in table.layers)
    assert all(b and len({layer.kernel_class for layer in b}) == 1 for b in found)


@MANY
@given(table=st.from_type(LayerTable), bins=st.integers(1, 20))
def test_bins_by_layers_hold_so_many_of_a_network_in_a_row(table, bins):
    found = bins_of(table.layers, bins, "layers")
    for (kernel, network), own in runs(table.layers).items():
        cut = [
            [la for la in b if (la.kernel_class, la.network) == (kernel, network)] for b in found
        ]
        wanted = [own[start : start + bins] for start in range(0, len(own), bins)]
        assert [part for part in cut if part] == wanted


@MANY
@given(table=st.from_type(LayerTable), bins=st.integers(1, 20))
def test_bins_by_depth_cut_every_network_into_nearly_equal_parts(table, bins):
    found = bins_of(table.layers, bins, "depth")
    for kernel in {layer.kernel_class for layer in table.layers}:
        own = [b for b in found if b[0].kernel_class == kernel]
        for network in {layer.network for layer in table.layers}:
            sizes = [sum(layer.network == network for layer in b) for b in own]
            if sum(sizes) >= len(own):
                assert max(sizes) - min(sizes) <= 1


@every_mode
@MANY
@given(table=st.from_type(LayerTable), bins=st.integers(1, 20))
def test_coarser_bins_go_on_to_one_per_kernel_class(by, table, bins):
    steps = list(coarser(table.layers, bins, by))
    counts = [len(step) for step in steps]
    asked = bins if by == "layers" else min(bins, len(table.layers))
    assert steps[0] == bins_of(table.layers, asked, by)
    if by == "layers":
        assert counts == sorted(counts, reverse=True)
    assert counts[-1] == len({layer.kernel_class for layer in table.layers})


@every_mode
@MANY
@given(table=st.from_type(LayerTable), bins=st.integers(1, 20))
def test_finer_bins_go_on_to_single_layers_of_each_network(by, table, bins):
    last = [bins_of(table.layers, bins, by), *finer(table.layers, bins, by)][-1]
    for (kernel, network), own in runs(table.layers).items():
        if by == "layers":
            own_bins = [b for b in last if own[0] in b]
            assert [la for b in own_bins for la in b if la.network == network] == [own[0]]
            assert own_bins[0][0].kernel_class == kernel


def test_bins_of_no_layers_are_none():
    assert list(coarser([], 3, "layers")) == list(coarser([], 3, "depth")) == []
    assert bins_of([], 3, "layers") == []


def test_bins_by_layers_grow_with_the_depth_of_a_network():
    """The example of the released code: WRN-28 has 25 3x3 layers and three 1x1 shortcuts."""
    network = NetworkSpec(name="main", architecture=ArchitectureSpec(name="wrn-28-10"))
    table = arch.layer_table(resolve_for([network], None))
    banked = [layer for layer in table.layers if layer.role != "classifier"]
    assert sorted(map(len, bins_of(banked, 4, "depth"))) == [3, 6, 6, 6, 7]
    assert sorted(map(len, bins_of(banked, 4, "layers"))) == [1, 3, *[4] * 6]


@MANY
@given(
    table=st.from_type(LayerTable),
    bins=st.integers(1, 6),
    spare=st.integers(0, 5000),
    cap=st.integers(1, 12),
    to_users=st.booleans(),
)
def test_level_gives_every_bank_as_many_templates_and_leaves_less_than_one_more(
    table, bins, spare, cap, to_users
):
    parts = parts_of(bins_of(table.layers, bins, "depth"))
    budget = cost(parts) + spare

    left = level(parts, spare, cap, to_users=to_users)

    assert cost(parts) + left == budget
    assert left >= 0
    banks = [(part, bank) for part in parts for bank in range(len(part.sizes))]
    limits = [min(cap, part.users[bank]) if to_users else cap for part, bank in banks]
    counts = [part.templates[bank] for part, bank in banks]
    assert all(1 <= count <= limit for count, limit in zip(counts, limits, strict=True))
    free = [count for count, limit in zip(counts, limits, strict=True) if count < limit]
    if free:
        assert max(counts) <= min(free) + 1
    lowest = min(free, default=0)
    for (part, bank), count, limit in zip(banks, counts, limits, strict=True):
        if count == lowest < limit:
            before = part.cost
            part.give(bank, part.templates[bank] + 1)
            assert part.cost - before > left
            part.give(bank, part.templates[bank] - 1)


def test_normalised_spreads_a_large_budget_where_templates_fill_some_banks_to_the_brim():
    """The first groups in the order get all they may have from the one, all alike by the other."""
    counts = {}
    for allocation in ("templates", "normalised"):
        plan = npas.plan(
            "wrn-28-10", budget={"fraction": 1.5}, method="superweights", allocation=allocation
        )
        assert plan.ledger.total <= plan.ledger.budget
        counts[allocation] = [bank.templates for group in plan.groups for bank in group.banks]
    assert max(counts["templates"]) == 8
    assert max(counts["normalised"]) == 2
