"""Networks that are frozen, whole or in part, can be put under other plans, and stay frozen."""

import npas
import pytest
import torch
from npas.errors import PlanError
from npas.sharing.measure import gradient_agreement
from npas.sharing.untying import separated, untie
from npas.spec import BudgetSpec
from torch import nn

X = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def made(name="wrn-16-1"):
    plan = npas.plan(name, method="soft_sharing", templates=1)
    model = npas.share(npas.build(name, seed=1), plan, seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model.eval()


def outputs(model):
    with torch.no_grad():
        return model(X)


MADE = {
    "regroup": lambda model: model.regroup(npas.plan("wrn-16-1", method="dense")),
    "fold": lambda model: npas.fold(model).model,
    "loops": lambda model: npas.loops(npas.fold(model).model),
    "untie": lambda model: untie(model, separated(model.plan)).model,
    "materialise": lambda model: model.materialise()["main"],
    "share": lambda model: npas.share(model.materialise(), model.plan, fit=True),
}


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("mode", ["frozen", "trained"])
def test_what_is_made_of_a_network_is_frozen_as_it_was(name, mode):
    model = made().requires_grad_(mode == "trained")
    found = MADE[name](model)
    assert {p.requires_grad for p in found.parameters()} == {mode == "trained"}
    torch.testing.assert_close(outputs(found.eval()), outputs(model), rtol=1e-3, atol=1e-3)


def test_banks_of_frozen_layers_alone_are_frozen():
    model = made()
    model.groups["g0"].requires_grad_(False)
    folded = npas.fold(model, 1.0).model
    assert not any(p.requires_grad for p in folded.groups["g0"].parameters())
    assert all(
        p.requires_grad
        for name in list(folded.groups)[1:]
        for p in folded.groups[name].parameters()
    )
    layers = {slot.layer for slot in model.plan.groups[0].slots}
    for name, parameter in model.materialise()["main"].named_parameters():
        assert parameter.requires_grad == (name not in layers)


def test_network_with_frozen_norms_can_share():
    network = npas.build("wrn-16-1")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
    model = npas.share(network, npas.plan("wrn-16-1", budget=BudgetSpec(fraction=0.4)))
    assert all(p.requires_grad for p in model.groups.parameters())
    model(X).sum().backward()
    assert gradient_agreement(model, [(X, torch.arange(4))]).batches == 1


def test_frozen_network_of_another_size_is_refused():
    with pytest.raises(PlanError, match="the plan is for"):
        npas.share(npas.build("wrn-16-1").requires_grad_(False), npas.plan("wrn-10-1"))
