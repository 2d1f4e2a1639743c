"""W[o, i] = gain * sum_k alpha_k T_k[cell (o, i)], alpha and T of the bank that owns the cell.

A cell belongs to the bank of the smallest shape that holds it; a bank stores its cells row by
row. The gain is that of `gain_of`.
"""

import math

import numpy as np
from hypothesis import strategies as st
from npas.plans import Bank, blocks
from npas.testing import Twin, banks, gain_of, group_of

SIDE = st.integers(1, 6)
KERNEL = st.sampled_from([(), (1,), (2, 2), (3, 1)])


def owners(group):
    """Return (bank, place of the cell in it) for every cell (o, i) of the largest shapes."""
    taken = {}
    for index, bank in enumerate(group.banks):
        cells = ((o, i) for o in range(bank.shape[0]) for i in range(bank.shape[1]))
        free = [cell for cell in cells if cell not in taken]
        taken |= {cell: (index, place) for place, cell in enumerate(free)}
    return taken


def weights(group, templates, coefficients):
    """Fill every weight cell by cell."""
    taken, found = owners(group), []
    for slot in group.slots:
        taps = math.prod(slot.shape[2:])
        weight = np.zeros((*slot.shape[:2], taps))
        for o in range(slot.shape[0]):
            for i in range(slot.shape[1]):
                index, place = taken[o, i]
                bank, alphas = group.banks[index], coefficients[index]
                gain = gain_of(group, bank, slot, mixed=alphas is not None)
                for k in range(bank.templates):
                    alpha = 1 if alphas is None else alphas[slot.rows[index], k]
                    cell = templates[index][k, place * taps : (place + 1) * taps]
                    weight[o, i] += gain * alpha * cell
        found.append(weight.reshape(slot.shape))
    return found


def with_banks(shapes, readers, bank_of):
    """Return a group; `bank_of(shape, size, users)` gives a bank and its users' rows."""
    reads = [blocks.reads(shapes, shape) for shape in readers]
    rows, made_of = [[None] * len(shapes) for _ in readers], []
    for index, (shape, size) in enumerate(zip(shapes, blocks.sizes(shapes), strict=True)):
        users = [slot for slot, read in enumerate(reads) if index in read]
        bank, chosen = bank_of(shape, size, len(users))
        made_of.append(bank)
        for user, row in zip(users, chosen, strict=True):
            rows[user][index] = row
    return group_of("nest", made_of, readers, rows)


@st.composite
def groups(draw):
    """Any shapes, nesting or not; rows of their own or tied; fewer or more templates than rows."""
    kernel = draw(KERNEL)
    boxes = draw(st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=4, unique=True))
    shapes = blocks.ordered({(*box, *kernel) for box in boxes})
    more = draw(st.lists(st.sampled_from(shapes), max_size=4))
    readers = draw(st.permutations([*shapes, *more]))
    return with_banks(shapes, readers, lambda *of: draw(banks(*of)))


@st.composite
def exact(draw):
    """Two shapes, one inside the other, and a template for every reader."""
    out, columns, times = draw(SIDE), draw(SIDE), draw(st.integers(1, 4))
    shapes = ((out, columns), (out + 1, columns + 2))

    def bank_of(shape, size, users):
        rows = users if users > 1 else 0
        return Bank(shape=shape, size=size, templates=users, rows=rows), range(users)

    return with_banks(shapes, shapes * times, bank_of)


TWIN = Twin(weights=weights, groups=groups(), exact=exact())
