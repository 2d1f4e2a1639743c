"""A network of one plan begins with the weights of a network of another, or of the same."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from npas.errors import DataError
from npas.plans import Group, LayerKey, Plan
from npas.sharing import build
from npas.sharing.activations import input_products, refit
from npas.sharing.alignment import align
from npas.sharing.checks import check_finite
from npas.sharing.group import SharedGroup
from npas.sharing.model import SharedModel
from npas.sharing.sameness import check_inherits

Fit = Literal["aligned", "activations", "weights"]
"""What banks are fitted to, see `npas.spec.StartSpec`."""


def inherited(
    model: SharedModel,
    plan: Plan,
    *,
    seed: int,
    fit: Fit = "weights",
    batches: Iterable[Tensor] = (),
) -> SharedModel:
    """Return the networks of a plan with the weights of a model, as near as its banks can.

    What is the same in both plans has the same values, bit for bit: layers outside groups, norms,
    biases, statistics, and the banks of groups that both have. Other banks are fitted to the
    weights of their layers, whose hidden units may be put in another order before: then what goes
    through them has another order, too. The model is left as it is.

    Args:
        model: with the weights.
        plan: of the networks to be trained.
        seed: of the job; of no say where the model has all weights, as it must.
        fit: aligned: hidden units are put in order first; activations: and banks are fitted to
            what layers put out after that; weights: neither.
        batches: of activations: inputs (B, ...), on one device, where layers are run.

    Raises:
        StartError: the model is of other networks.
    """
    check_inherits(plan, model.plan)
    plain = model.materialise()
    networks = build.networks(plan.networks, seed=seed)
    for name, network in networks.items():
        network.load_state_dict(plain[name].state_dict())
    kept = {group.name: _same(group, model) for group in plan.groups}
    fitted = {slot.key for each in plan.groups if kept[each.name] is None for slot in each.slots}
    fixed = {slot.key for group in plan.groups for slot in group.slots} - fitted
    check_finite(networks, fitted)
    if fit != "weights":
        align(networks, fitted, fixed)
    products = _products(networks, fitted, batches) if fit == "activations" and fitted else {}
    wanted = {key: networks[key[0]].get_parameter(key[1]) for key in fitted | fixed}
    with torch.device("cpu"), torch.no_grad():
        found = SharedModel(networks, plan)
        for group in plan.groups:
            banks = cast(SharedGroup, found.groups[group.name])
            _fill(banks, kept[group.name], [wanted[slot.key].detach() for slot in group.slots])
    refit(found, wanted, products)
    for group in plan.groups:
        is_trained = any(wanted[slot.key].requires_grad for slot in group.slots)
        found.groups[group.name].requires_grad_(is_trained)
    return found


def _products(
    networks: Mapping[str, nn.Module], wanted: set[LayerKey], batches: Iterable[Tensor]
) -> dict[LayerKey, Tensor]:
    """Return inner products of what layers read, of copies that run where the batches are."""
    given = list(batches)
    if not given:
        raise DataError("banks cannot be fitted to what layers put out without a batch of inputs")
    copies = {name: copy.deepcopy(each).to(given[0].device) for name, each in networks.items()}
    return input_products(copies, wanted, given)


def _fill(banks: SharedGroup, source: SharedGroup | None, weights: Sequence[Tensor]) -> None:
    if source is None:
        banks.fit(weights)
        return
    for ours, theirs in zip(banks.parameters(), source.parameters(), strict=True):
        ours.copy_(theirs)


def _same(group: Group, model: SharedModel) -> SharedGroup | None:
    """Return the banks of a model that make the weights of a group from the same numbers."""
    for other in model.plan.groups:
        if other.model_copy(update={"name": group.name}) == group:
            return cast(SharedGroup, model.groups[other.name])
    return None
