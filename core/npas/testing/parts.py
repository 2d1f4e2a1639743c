"""The promise of a part of a group: the same weights, and nothing that its layers do not read."""

from collections.abc import Set as AbstractSet

import torch

from npas import recipes
from npas.plans import Group
from npas.sharing.group import SharedGroup
from npas.testing.reading import num_unread


def check_part(
    group: Group, whole: SharedGroup, slots: AbstractSet[int], *, keeps_unread: bool = False
) -> tuple[Group, SharedGroup]:
    """Check that some layers of a group are a group of their own, with the weights that they had.

    Args:
        group: whole, or a part itself.
        whole: with random banks.
        slots: indices of the layers.
        keeps_unread: whether the part may hold what none of its layers reads.

    Returns:
        The part, without and with its banks.

    Raises:
        AssertionError: a promise of `Composer.part` does not hold.
    """
    part = recipes.part(group, sorted(slots))
    made = Group.model_validate_json(part.group.model_dump_json())
    assert made == part.group, "a part that JSON does not give back"
    if len(slots) == len(group.slots):
        assert made == group, "all layers are not the group itself"
    shared = SharedGroup(made)
    shared.copy_part(whole, part)
    kept = [group.slots[slot] for slot in sorted(slots)]
    assert [(s.key, s.shape, s.deviation) for s in made.slots] == [
        (s.key, s.shape, s.deviation) for s in kept
    ], "not the layers that were asked for"
    before = whole.weights()
    for slot, weight in zip(sorted(slots), shared.weights(), strict=True):
        is_same = torch.allclose(weight, before[slot], rtol=1e-10, atol=1e-10)
        assert is_same, f"{group.slots[slot].layer} is another weight in a part"
    counts = [sum(p.numel() for p in each.parameters()) for each in (shared, whole)]
    assert counts[0] == made.num_parameters, f"{counts[0]} scalars, not {made.num_parameters}"
    assert counts[0] <= counts[1], f"{counts[0]} scalars, in the whole group {counts[1]}"
    assert keeps_unread or num_unread(shared) == 0, "a part with scalars that move no weight"
    return made, shared
