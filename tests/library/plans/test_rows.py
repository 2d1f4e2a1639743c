"""Layers of blocks that share rows of coefficients: tied, measured and parted, bit for bit."""

import npas
import pytest
import torch
from npas.errors import PlanError
from npas.methods._tying import parted
from npas.plans import Plan
from npas.plans.blocks import num_blocks
from npas.plans.rows import is_tied, num_rows, readers_of_bank, stands_at, with_owners
from npas.sharing.measure import coefficient_agreement, gradient_agreement
from npas.sharing.membership import member
from npas.sharing.untying import separated, untie
from npas.testing.networks import several

NETWORKS = several("resnet-14", "resnet-8", size=16)
X = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
BATCHES = [(X, torch.tensor([1, 2, 3, 4]))]


def tied(plan):
    """Return a plan where layers of as many blocks share them."""
    groups = []
    for group in plan.groups:
        grids = [num_blocks(slot.shape, group.banks[0].shape) for slot in group.slots]
        groups.append(with_owners(group, {0: [grids.index(grid) for grid in grids]}))
    return plan.refined(tuple(groups))


@pytest.fixture(params=[0.1, 0.6], ids=["shuffled", "plain"])
def model(request):
    plan = npas.plan(NETWORKS, method="block_mix", budget={"fraction": request.param})
    assert {"shuffled" in group.settings for group in plan.groups} == {request.param == 0.1}
    return shared(Plan.from_json(tied(plan).to_json()))


def shared(plan):
    built = {n.name: npas.build(n.architecture, seed=2) for n in plan.networks}
    model = npas.share(built, plan, seed=2).eval()
    with torch.no_grad():
        for group in model.groups.values():
            for coefficients in group.coefficients:
                coefficients.add_(0.1 * torch.randn(coefficients.shape))
    return model


def logits(model):
    with torch.no_grad():
        return [*model.members(X).values()]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(logits(one), logits(other), strict=True))


def test_all_layers_part_and_nothing_jumps(model):
    plan = separated(model.plan)
    assert not any(is_tied(group, 0) for group in plan.groups)
    for group in plan.groups:
        counts = [num_rows(group, 0, slot) for slot in group.slots]
        assert sum(counts) == group.banks[0].rows
    untied = untie(model, plan)
    assert same(untied.model, model)
    again = untie(untied.model, plan)
    assert same(again.model, model)
    assert not again.rows
    assert separated(plan).groups == plan.groups


def test_those_that_do_not_agree_part_and_nothing_jumps(model):
    agreement = coefficient_agreement(model, BATCHES)
    assert {bank.group for bank in agreement.banks} == {
        group.name for group in model.plan.groups if is_tied(group, 0)
    }
    assert parted(model.plan.groups, agreement, -1.0) == model.plan.groups
    for threshold in (0.0, 0.99):
        groups = parted(model.plan.groups, agreement, threshold)
        rows = [sum(each.banks[0].rows for each in some) for some in (model.plan.groups, groups)]
        assert rows[0] < rows[1] or threshold == 0
        plan = model.plan.refined(groups, budget=model.plan.ledger.total + 10**6)
        assert same(untie(model, plan).model, model)


def test_shared_rows_get_the_gradients_of_all_their_readers(model):
    untied = untie(model, separated(model.plan))
    for each in (model, untied.model):
        sum(part.square().sum() for part in each.members(X).values()).backward()
    for name, sources in untied.rows.items():
        alone, together = (each.get_parameter(name).grad for each in (untied.model, model))
        summed = torch.zeros_like(together).index_add_(0, sources, alone)
        torch.testing.assert_close(summed, together, rtol=1e-3, atol=1e-5)


def test_tied_blocks_are_saved_measured_and_had_alone(model, tmp_path):
    npas.save(model, tmp_path / "tied")
    assert same(npas.load(tmp_path / "tied"), model)
    gradient_agreement(model, BATCHES)
    for index, name in enumerate(model.network_names):
        torch.testing.assert_close(logits(member(model, name))[0], logits(model)[index])


def test_another_place_is_another_group(model):
    """Shuffled blocks of another place have another order: no row may go there."""
    group = model.plan.groups[0]
    slot = group.slots[-1]
    moved = slot.model_copy(update={"place": 1000})
    groups = (group.model_copy(update={"slots": (*group.slots[:-1], moved)}),)
    plan = model.plan.refined(groups + model.plan.groups[1:])
    if stands_at(group, slot) is None:
        assert same(untie(model, plan).model, model)
    else:
        with pytest.raises(PlanError, match="not the same group"):
            untie(model, plan)


def test_windows_are_never_tied():
    plan = npas.plan(NETWORKS, method="ssn", budget={"fraction": 0.4}, groups="single")
    (group,) = plan.groups
    assert group.banks[0].rows
    assert readers_of_bank(group, 0) == list(range(len(group.slots)))
    assert not is_tied(group, 0)
    assert separated(plan).groups == plan.groups
