"""A network of one plan begins with the weights of a network of another, or of the same."""

from typing import cast

import torch
from torch import nn

from npas.plans import Group, Plan
from npas.sharing import build
from npas.sharing.group import SharedGroup
from npas.sharing.model import SharedModel
from npas.sharing.sameness import check_inherits


def inherited(model: SharedModel, plan: Plan, *, seed: int) -> SharedModel:
    """Return the networks of a plan with the weights of a model, as near as its banks can.

    What is the same in both plans has the same values, bit for bit: layers outside groups, norms,
    biases, statistics, and the banks of groups that both have. Other banks are fitted to the
    weights of their layers. The model is left as it is.

    Args:
        model: with the weights.
        plan: of the networks to be trained.
        seed: of the job; of no say where the model has all weights, as it must.

    Raises:
        StartError: the model is of other networks.
    """
    check_inherits(plan, model.plan)
    plain = model.materialise()
    networks = build.networks(plan.networks, seed=seed)
    for name, network in networks.items():
        network.load_state_dict(plain[name].state_dict())
    wanted = [
        [networks[slot.network].get_parameter(slot.layer) for slot in group.slots]
        for group in plan.groups
    ]
    with torch.device("cpu"), torch.no_grad():
        found = SharedModel(networks, plan)
        for group, weights in zip(plan.groups, wanted, strict=True):
            banks = cast(SharedGroup, found.groups[group.name])
            _fill(banks, _same(group, model), weights)
            banks.requires_grad_(any(weight.requires_grad for weight in weights))
    return found


def _fill(banks: SharedGroup, source: SharedGroup | None, weights: list[nn.Parameter]) -> None:
    if source is None:
        banks.fit([weight.detach() for weight in weights])
        return
    for ours, theirs in zip(banks.parameters(), source.parameters(), strict=True):
        ours.copy_(theirs)


def _same(group: Group, model: SharedModel) -> SharedGroup | None:
    """Return the banks of a model that make the weights of a group from the same numbers."""
    for other in model.plan.groups:
        if other.model_copy(update={"name": group.name}) == group:
            return cast(SharedGroup, model.groups[other.name])
    return None
