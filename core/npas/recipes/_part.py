"""A part of a group whose layers take rows of coefficients one by one: rows are renumbered."""

from collections.abc import Sequence

import torch

from npas.plans import Group
from npas.recipes._composer import BankPart, Part


def part_by_rows(group: Group, slots: Sequence[int]) -> Part:
    """Return some layers with whole templates, without the banks and rows that none reads.

    The part of a recipe where a layer's row is its row of coefficients, or, in a bank without,
    any number.

    Args:
        group: whole.
        slots: indices of the layers.
    """
    kept = [group.slots[slot] for slot in slots]
    rows: list[list[int | None]] = [[] for _ in kept]
    banks, parts = [], []
    for index, bank in enumerate(group.banks):
        used = sorted({row for slot in kept if (row := slot.rows[index]) is not None})
        if not used:
            continue
        number = {row: place for place, row in enumerate(used)}
        for own, slot in zip(rows, kept, strict=True):
            row = slot.rows[index]
            own.append(None if row is None else number[row])
        banks.append(bank.model_copy(update={"rows": len(used)}) if bank.rows else bank)
        parts.append(BankPart(index, rows=torch.tensor(used)))
    made = tuple(
        slot.model_copy(update={"rows": tuple(own)}) for slot, own in zip(kept, rows, strict=True)
    )
    group = group.model_copy(update={"banks": tuple(banks), "slots": made})
    return Part(group, tuple(parts))
