"""Templates in proportion: every SuperWeight gets the same share of the budget for its size."""

from collections.abc import Sequence

from npas.methods._parts import Part, cost


def level(parts: Sequence[Part], spare: int, cap: int, *, to_users: bool) -> int:
    """Distribute spare parameters so that all banks have equally many templates, in place.

    Source: the released SuperWeights code's second routine (`param_allocation_normalized`), which
    makes a bank's size its share of the budget: of each bank the part that is no whole template
    is never read, together up to one template of every bank. Here shares are rounded down to
    whole templates and what that leaves is distributed as one more template each, first where most
    was rounded off, which is in the largest bank, as long as it fits.

    Args:
        parts: all of them.
        spare: parameters to distribute.
        cap: most templates of a bank.
        to_users: give no bank more templates than it has readers.

    Returns:
        What is left.
    """
    total = cost(parts) + spare
    banks = [(part, bank) for part in parts for bank in range(len(part.sizes))]

    def raise_to(count: int) -> None:
        for part, bank in banks:
            limit = min(count, part.users[bank]) if to_users else count
            part.give(bank, max(part.templates[bank], limit))

    before = [list(part.templates) for part in parts]
    for count in range(2, cap + 1):
        raise_to(count)
        if cost(parts) > total:
            for part, templates in zip(parts, before, strict=True):
                for bank, had in enumerate(templates):
                    part.give(bank, had)
            break
        before = [list(part.templates) for part in parts]
    left = total - cost(parts)
    for part, bank in sorted(banks, key=lambda at: at[0].sizes[at[1]], reverse=True):
        had, price = part.templates[bank], part.cost
        if had < (min(cap, part.users[bank]) if to_users else cap):
            part.give(bank, had + 1)
            price = part.cost - price
            if price > left:
                part.give(bank, had)
            else:
                left -= price
    return left
