"""Put a plan into effect in which networks have joined the banks of others."""

from collections.abc import Sequence
from typing import cast

import torch

from npas import seeds
from npas.errors import PlanError
from npas.plans import Group, Plan
from npas.sharing import build
from npas.sharing.group import SharedGroup
from npas.sharing.model import OF_ALL, SharedModel, check_shared


def with_joined(model: SharedModel, plan: Plan, *, seed: int, frozen: bool = False) -> SharedModel:
    """Return a model with more networks, which read the templates that are there.

    The networks of the model compute what they did, bit for bit. What the new ones have of their
    own starts at random. What is frozen stays so. `extra` is that of the model but for what is
    said of all its networks together. The model is left as it is.

    Args:
        model: of the plan before.
        plan: from `npas.planning.joining.joined`.
        seed: of what is random.
        frozen: whether the new networks alone are active, and nothing that others read is trained.
            Rows of coefficients lie in one tensor with those of others, which get no gradient
            while only the new networks run: an optimiser that decays coefficients, as no
            optimiser should, would move them.

    Raises:
        InvalidSpecError: the model is not a shared network.
        PlanError: the plan is not one that networks have joined.
    """
    check_shared(model)
    _check(model.plan, plan)
    before = len(model.plan.networks)
    some = next(model.parameters())
    new = build.networks(plan.networks[before:], seed=seed)
    old = {name: network.cpu() for name, network in model.materialise().items()}
    with torch.device("cpu"), torch.no_grad():
        found = SharedModel({**old, **{n: net.to(some.dtype) for n, net in new.items()}}, plan)
        generator = torch.Generator().manual_seed(seeds.number("joined", seed))
        for group, known in zip(plan.groups, model.plan.groups, strict=True):
            ours, theirs = (cast(SharedGroup, each.groups[group.name]) for each in (found, model))
            ours.to(theirs.templates[0].dtype)
            if len(group.slots) > len(known.slots):
                ours.initialise(generator)
            _take_over(ours, theirs)
    found.extra = {name: said for name, said in model.extra.items() if name not in OF_ALL}
    if frozen:
        _freeze_all_but(found, [network.name for network in plan.networks[before:]])
    return found.to(some.device)


def _freeze_all_but(model: SharedModel, names: Sequence[str]) -> None:
    """Run some networks alone, and let nothing be trained that only others read."""
    model.active = tuple(names)
    for group in model.plan.groups:
        banks = cast(SharedGroup, model.groups[group.name])
        banks.templates.requires_grad_(False)
        if not any(slot.network in names for slot in group.slots):
            banks.requires_grad_(False)
    for name in model.network_names:
        if name not in names:
            model.network(name).requires_grad_(False)


def _check(before: Plan, after: Plan) -> None:
    """Check that one plan is another with more networks.

    Raises:
        PlanError: it is not.
    """
    count = len(before.networks)
    is_longer = after.networks[:count] == before.networks and len(after.networks) > count
    pairs = zip(before.groups, after.groups, strict=False)
    are_same = len(before.groups) == len(after.groups) and all(
        _without_layers(one) == _without_layers(other)
        and other.slots[: len(one.slots)] == one.slots
        for one, other in pairs
    )
    if not is_longer or not are_same:
        raise PlanError("the plan is not that of the model with more networks")


def _without_layers(group: Group) -> tuple[object, ...]:
    """Return what of a group does not change when layers join it."""
    banks = [(bank.shape, bank.size, bank.templates) for bank in group.banks]
    return group.name, group.recipe, group.settings, group.deviation, group.row_length, banks


def _take_over(ours: SharedGroup, theirs: SharedGroup) -> None:
    """Copy templates and rows of coefficients; rows that are ours alone stay as they are."""
    for mine, source in zip(ours.templates, theirs.templates, strict=True):
        mine.copy_(source).requires_grad_(source.requires_grad)
    for mine, source in zip(ours.coefficients, theirs.coefficients, strict=True):
        mine[: len(source)].copy_(source)
