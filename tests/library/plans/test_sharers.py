"""Who shares with whom, said of every layer of every method's plans."""

import math

import npas
import pytest
from npas import recipes, registry
from npas.errors import InfeasibleBudgetError, PlanError
from npas.plans.sharers import MOST_NAMED, shares
from npas.testing.networks import several

METHODS = [(name, {}) for name in registry.names("npas.methods")]
METHODS += [
    ("superweights", {"blocks": "stack"}),
    ("superweights", {"blocks": "nest"}),
    ("ssn", {"share": "emb"}),
    ("ssn", {"upsample": "mask"}),
    ("ssn", {"stage": "search"}),
]
NETWORKS = several("resnet-14", "vit-2-32-2", size=16)


def planned(networks, method, fraction, **options):
    try:
        return npas.plan(networks, budget={"fraction": fraction}, method=method, **options)
    except InfeasibleBudgetError as error:
        return npas.plan(networks, budget=error.minimum, method=method, **options)


@pytest.mark.parametrize("fraction", [0.05, 0.5])
@pytest.mark.parametrize(("method", "options"), METHODS)
def test_every_layer_is_told_once_with_what_it_has(method, options, fraction):
    plan = planned(NETWORKS, method, fraction, **options)
    rows = shares(plan)
    slots = {slot.key: (slot.shape, g) for g in plan.groups for slot in g.slots}
    private = {layer.key: layer.shape for layer in plan.private}
    assert len({row.key for row in rows}) == len(rows) == len(slots) + len(private)
    for row in rows:
        assert row.parameters == math.prod(row.shape)
        if row.key in private:
            told = (row.group, row.recipe, row.readers, row.shares_with)
            assert told == (None, None, 1, ())
            assert row.own_parameters == row.group_parameters == row.parameters
            continue
        shape, group = slots[row.key]
        assert (row.shape, row.group, row.recipe) == (shape, group.name, group.recipe)
        assert row.group_parameters == group.num_parameters
        assert 1 <= row.readers <= len(group.slots)
        assert len(row.shares_with) == min(row.readers - 1, MOST_NAMED)
        assert f"{row.network}/{row.layer}" not in row.shares_with


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_what_a_layer_has_by_itself_is_freed_with_it(method, options):
    """As each recipe says of a part of a group, which is another count of it."""
    plan = planned(NETWORKS, method, 0.3, **options)
    rows = {row.key: row for row in shares(plan)}
    for group in plan.groups:
        own = [rows[slot.key].own_parameters for slot in group.slots]
        assert sum(own) <= group.num_parameters
        for index, scalars in enumerate(own):
            rest = [other for other in range(len(group.slots)) if other != index]
            if not rest:
                assert scalars == group.num_parameters
                continue
            try:
                left = recipes.part(group, rest).group.num_parameters
            except PlanError:
                continue
            assert scalars <= group.num_parameters - left


def test_rows_of_coefficients_are_a_layers_own_or_shared():
    plan = planned(several("resnet-14"), "soft_sharing", 0.75)
    for group in plan.groups:
        (bank,) = group.banks
        read = [slot.rows[0] for slot in group.slots]
        rows = {row.key: row for row in shares(plan)}
        for slot in group.slots:
            alone = read.count(slot.rows[0]) == 1
            assert rows[slot.key].own_parameters == (bank.templates if alone else 0)


def test_layers_of_a_lone_network_have_no_network_in_their_names():
    (alone,) = {
        name.count("/")
        for row in shares(planned(several("resnet-14"), "uniform", 0.3))
        for name in row.shares_with
    }
    (together,) = {
        name.count("/")
        for row in shares(planned(NETWORKS, "uniform", 0.3))
        for name in row.shares_with
    }
    assert (alone, together) == (0, 1)


def test_many_sharers_are_counted_and_the_first_are_named():
    rows = shares(planned(several("resnet-56"), "ssn", 0.1))
    most = max(rows, key=lambda row: row.readers)
    assert most.readers > MOST_NAMED + 1
    assert len(most.shares_with) == MOST_NAMED
