"""Which layers of a group share rows of coefficients, and the group where others do."""

import math
from collections.abc import Mapping, Sequence

from npas.plans import Group, Slot
from npas.plans.blocks import num_blocks

_BLOCKS = "stack"
"""The recipe whose layers read a row for each of their blocks, one behind the other."""

_WINDOWS = ("slice", "embed")
"""Recipes whose layers have rows of their own, any number, and share none."""


def num_rows(group: Group, index: int, slot: Slot) -> int:
    """Return how many rows of a bank's coefficients a layer reads, from its first row on.

    Args:
        group: of the layer; not one of the recipes `slice` and `embed`.
        index: of the bank.
        slot: of the layer.
    """
    bank = group.banks[index]
    if slot.rows[index] is None or not bank.rows:
        return 0
    return math.prod(num_blocks(slot.shape, bank.shape)) if group.recipe == _BLOCKS else 1


def readers_of_bank(group: Group, index: int) -> list[int]:
    """Return the indices of the slots that read a bank."""
    return [number for number, slot in enumerate(group.slots) if slot.rows[index] is not None]


def is_tied(group: Group, index: int) -> bool:
    """Return whether layers share coefficients of a bank."""
    readers = readers_of_bank(group, index)
    if not group.banks[index].rows or group.recipe in _WINDOWS:
        return False
    return len({group.slots[reader].rows[index] for reader in readers}) < len(readers)


def stands_at(group: Group, slot: Slot) -> int | None:
    """Return where a layer stands, if that matters: the number of its first shuffled block."""
    if group.recipe != _BLOCKS or "shuffled" not in group.settings:
        return None
    return slot.rows[0] if slot.place is None else slot.place


def with_owners(group: Group, owners: Mapping[int, Sequence[int]]) -> Group:
    """Return a group where other layers share coefficients; blocks keep their order and signs.

    Args:
        group: as it is.
        owners: for some banks, what each of its readers shares with others: readers of one number
            have the same rows, which are numbered in the order of their first readers.
    """
    rows = [list(slot.rows) for slot in group.slots]
    banks = list(group.banks)
    for index, labels in owners.items():
        firsts: dict[int, int] = {}
        count = 0
        for number, label in zip(readers_of_bank(group, index), labels, strict=True):
            if label not in firsts:
                firsts[label] = count
                count += num_rows(group, index, group.slots[number])
            rows[number][index] = firsts[label]
        banks[index] = banks[index].model_copy(update={"rows": count})
    slots = []
    for slot, own in zip(group.slots, rows, strict=True):
        place = stands_at(group, slot)
        changes: dict[str, object] = {"rows": tuple(own)}
        if place is not None and (slot.place is not None or place != own[0]):
            changes["place"] = place
        slots.append(slot.model_copy(update=changes))
    return group.model_copy(update={"banks": tuple(banks), "slots": tuple(slots)})
