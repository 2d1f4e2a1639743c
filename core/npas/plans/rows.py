"""Which layers of a group share rows of coefficients, and the group where others do."""

import math
from collections import Counter
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


def num_own(group: Group) -> list[int]:
    """Return how many trainable scalars of a group each of its layers alone reads."""
    found = [0] * len(group.slots)
    for index, bank in enumerate(group.banks):
        readers = readers_of_bank(group, index)
        if len(readers) == 1:
            found[readers[0]] += bank.num_template_scalars + bank.num_coefficients
            continue
        for reader, count in zip(readers, _num_own_rows(group, index, readers), strict=True):
            # Without coefficients, a number says which of several templates is read.
            found[reader] += count * (bank.templates if bank.rows else bank.size)
    return found


def _num_own_rows(group: Group, index: int, readers: Sequence[int]) -> list[int]:
    """Return how many rows of a bank that several layers read each of them alone reads."""
    bank = group.banks[index]
    if not bank.rows and bank.templates == 1:
        return [0] * len(readers)
    firsts = [group.slots[reader].rows[index] or 0 for reader in readers]
    if group.recipe in _WINDOWS:  # those of one layer behind those of the other
        return [end - first for first, end in zip(firsts, [*firsts[1:], bank.rows], strict=True)]
    counts = [max(1, num_rows(group, index, group.slots[reader])) for reader in readers]
    read = Counter(
        row
        for first, count in zip(firsts, counts, strict=True)
        for row in range(first, first + count)
    )
    return [
        sum(read[row] == 1 for row in range(first, first + count))
        for first, count in zip(firsts, counts, strict=True)
    ]


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
