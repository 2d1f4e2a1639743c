"""Some layers of a group as a group of their own, and what its banks are copies of."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from npas.plans import Group

Index = slice | Tensor
"""Some places along one dimension of a tensor, in the order in which they are taken."""

ALL = slice(None)
"""All places, in their order."""


class BankPart(NamedTuple):
    """What one bank of a part of a group is a copy of.

    Attributes:
        bank: of the whole group, an index.
        rows: of its coefficients; of no meaning for a bank without.
        templates: of that bank, and columns of its coefficients.
        scalars: of each template.
    """

    bank: int
    rows: Index = ALL
    templates: Index = ALL
    scalars: Index = ALL


class Part(NamedTuple):
    """Some layers of a group, with as much of its banks as they read.

    Attributes:
        group: of these layers alone.
        banks: one per bank of that group.
    """

    group: Group
    banks: tuple[BankPart, ...]


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
