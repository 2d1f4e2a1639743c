"""A group with one layer more, which reads the banks as they are."""

from collections.abc import Collection

from npas.plans import Group, Slot


def with_own_rows(group: Group, slot: Slot, reads: Collection[int]) -> Group:
    """Return a group where a layer has a row of coefficients of its own in each bank it reads.

    Of a bank without coefficients the layer takes the template as it is.

    Args:
        group: whole.
        slot: of the layer; the rows it has are left out.
        reads: indices of the banks.
    """
    rows: list[int | None] = []
    banks = []
    for index, bank in enumerate(group.banks):
        is_read = index in reads
        rows.append(bank.rows if is_read else None)
        grows = is_read and bank.rows > 0
        banks.append(bank.model_copy(update={"rows": bank.rows + 1}) if grows else bank)
    return grown(group, slot, tuple(rows), banks=tuple(banks))


def grown(group: Group, slot: Slot, rows: tuple[int | None, ...], **changes: object) -> Group:
    """Return a group with one slot more, at the end, and other changes."""
    last = slot.model_copy(update={"rows": rows})
    return group.model_copy(update={"slots": (*group.slots, last), **changes})
