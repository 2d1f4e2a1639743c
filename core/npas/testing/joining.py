"""The promise of a layer that joins a group: it adds coefficients, and nothing else changes."""

from collections.abc import Sequence

import torch

from npas import recipes
from npas.plans import Group, Slot
from npas.sharing.group import SharedGroup


def check_joined(group: Group, before: SharedGroup, shapes: Sequence[tuple[int, ...]]) -> int:
    """Check that layers can join a group, or are refused, without a bit of the others changed.

    Args:
        group: as it is.
        before: with random banks.
        shapes: of layers that ask to join, one after another.

    Returns:
        how many could.

    Raises:
        AssertionError: a promise of `Joinable.with_layer` does not hold.
    """
    found = group
    for number, shape in enumerate(shapes):
        slot = Slot(network="late", layer=f"{number}.weight", shape=shape, rows=())
        grown = recipes.with_layer(found, slot)
        if grown is None:
            continue
        assert grown.slots[:-1] == found.slots, "layers that were there have changed"
        last = grown.slots[-1]
        assert (last.key, last.shape) == (slot.key, slot.shape), "another layer has joined"
        templates = [(bank.shape, bank.size, bank.templates) for bank in found.banks]
        assert templates == [(b.shape, b.size, b.templates) for b in grown.banks]
        found = grown
    count = len(found.slots) - len(group.slots)
    if count:
        _check_bits(group, before, found)
    return count


def _check_bits(group: Group, before: SharedGroup, grown: Group) -> None:
    named = grown.model_copy(update={"joined": (*group.joined, len(group.slots))})
    made = Group.model_validate_json(named.model_dump_json())
    assert made == named, "a group that JSON does not give back"
    after = SharedGroup(made).to(before.templates[0].dtype)
    with torch.no_grad():
        after.initialise(torch.Generator().manual_seed(0))
        for ours, theirs in zip(after.templates, before.templates, strict=True):
            ours.copy_(theirs)
        for ours, theirs in zip(after.coefficients, before.coefficients, strict=True):
            ours[: len(theirs)] = theirs
    counted = sum(p.numel() for p in after.parameters())
    assert counted == made.num_parameters, f"{counted} scalars, not {made.num_parameters}"
    for slot, weight, other in zip(group.slots, before.weights(), after.weights(), strict=False):
        assert torch.equal(weight, other), f"{slot.layer} has changed"
    shapes = [tuple(weight.shape) for weight in after.weights()]
    assert shapes == [slot.shape for slot in made.slots], "weights of other shapes"
