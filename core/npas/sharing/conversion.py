"""Networks with weights under a plan: banks as near to them as they can be."""

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from npas.plans import LayerKey, Plan
from npas.sharing.activations import refit
from npas.sharing.alignment import align
from npas.sharing.checks import check_finite
from npas.sharing.group import SharedGroup
from npas.sharing.model import SharedModel
from npas.spec.start import Fit

Products = Callable[[set[LayerKey]], dict[LayerKey, Tensor]]
"""Of layers, the inner products of what they read, see `npas.sharing.activations`."""


def converted(
    networks: Mapping[str, nn.Module],
    plan: Plan,
    *,
    fit: Fit,
    products: Products,
    kept: Mapping[str, SharedGroup],
) -> SharedModel:
    """Make networks share as a plan says; they are taken over, and their units may move.

    Args:
        networks: dense, by name, in the order of the plan.
        plan: of them.
        fit: aligned: hidden units are put in order first; activations: and banks are fitted to
            what layers put out after that; weights: neither.
        products: is called for activations, with the layers whose banks are fitted.
        kept: banks that make the weights of a group already, by the group's name: their numbers
            are taken, and units of their layers stay where they are.

    Raises:
        InvalidSpecError: a weight that a bank is to be fitted to is no finite number.
    """
    fitted = {slot.key for each in plan.groups if each.name not in kept for slot in each.slots}
    fixed = {slot.key for group in plan.groups for slot in group.slots} - fitted
    check_finite(networks, fitted)
    aligned = 0 if fit == "weights" else align(networks, fitted, fixed)
    read = products(fitted) if fit == "activations" and fitted else {}
    wanted = {key: networks[key[0]].get_parameter(key[1]) for key in fitted | fixed}
    # Banks are made on the CPU, whatever the default device: a seed gives the same everywhere.
    with torch.device("cpu"), torch.no_grad():
        model = SharedModel(networks, plan)
        for group in plan.groups:
            weights = [wanted[slot.key].detach() for slot in group.slots]
            banks = cast(SharedGroup, model.groups[group.name]).to(weights[0].dtype)
            if group.name in kept:
                for ours, theirs in zip(
                    banks.parameters(), kept[group.name].parameters(), strict=True
                ):
                    ours.copy_(theirs)
            else:
                banks.fit([weight.cpu() for weight in weights])
            banks.layout().follow(weights)
            banks.to(weights[0].device)
    refit(model, wanted, read)
    for group in plan.groups:
        is_trained = any(wanted[slot.key].requires_grad for slot in group.slots)
        model.groups[group.name].requires_grad_(is_trained)
    model.origin.aligned = aligned
    return model
