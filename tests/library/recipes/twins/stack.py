"""W[o, i] = gain * sum_k alpha_k T_k[o mod block out, i mod block in], alpha of the cell's block.

The blocks of a layer lie in a grid from its first row and column, cropped at the far borders; a
slot's row is that of its first block, the others follow, grid row by grid row. The gain is
that of `gain_of`. Shuffled, scalar d of block m is the mixed scalar
with the d-th smallest hash of the block times the sign of the hash at d, -1 for an even one; m
counts rows, for a slot with a place from there on.
"""

import math

import numpy as np
from hypothesis import strategies as st
from npas.plans import Bank
from npas.plans.blocks import num_blocks
from npas.testing import Twin, gain_of, group_of

SIDE = st.integers(1, 4)
KERNEL = st.sampled_from([(), (2,), (1, 1), (3, 2)])
WORD = 2**64


def splitmix(place, seed):
    """Return the hash of one place."""
    state = ((place + 1) * 0x9E3779B97F4A7C15 + seed * 0xD1342543DE82EF95) % WORD
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % WORD
    return state ^ (state >> 31)


def block_of(mixed, block, seed):
    """Return one block's scalars in their order, with their signs."""
    if seed is None:
        return mixed
    size = len(mixed)
    hashes = [splitmix(block * size + d, seed) for d in range(size)]
    order = sorted(range(size), key=hashes.__getitem__)
    return np.array([mixed[order[d]] * (1 if hashes[d] % 2 else -1) for d in range(size)])


def weights(group, templates, coefficients):
    """Fill every weight cell by cell."""
    (bank,), (templates_KD,), (alphas,), found = group.banks, templates, coefficients, []
    high, wide = bank.shape[:2]
    seed = group.settings.get("shuffled")
    mixed = [sum(a * T for a, T in zip(alpha, templates_KD, strict=True)) for alpha in alphas]
    for slot in group.slots:
        gain = gain_of(group, bank, slot, mixed=True)
        in_a_row = math.ceil(slot.shape[1] / wide)
        number = in_a_row * math.ceil(slot.shape[0] / high)
        row = slot.rows[0]
        first = row if slot.place is None else slot.place
        blocks = [block_of(mixed[row + m], first + m, seed) for m in range(number)]
        weight = np.zeros((*slot.shape[:2], math.prod(slot.shape[2:])))
        for o in range(slot.shape[0]):
            for i in range(slot.shape[1]):
                block = blocks[o // high * in_a_row + i // wide]
                weight[o, i] = gain * block.reshape(high, wide, -1)[o % high, i % wide]
        found.append(weight.reshape(slot.shape))
    return found


def with_block(block, shapes, templates, **settings):
    """Return the group of layers made of one block."""
    counts = [math.ceil(s[0] / block[0]) * math.ceil(s[1] / block[1]) for s in shapes]
    firsts = [sum(counts[:index]) for index in range(len(counts))]
    bank = Bank(shape=block, size=math.prod(block), templates=templates, rows=sum(counts))
    return group_of("stack", [bank], shapes, [[first] for first in firsts], **settings)


@st.composite
def groups(draw):
    """Layers of any size, one of them at least as large as the block."""
    kernel = draw(KERNEL)
    block = (draw(SIDE), draw(SIDE), *kernel)
    grown = (block[0] + draw(st.integers(0, 4)), block[1] + draw(st.integers(0, 4)), *kernel)
    sides = st.tuples(st.integers(1, 8), st.integers(1, 8))
    others = [(*box, *kernel) for box in draw(st.lists(sides, max_size=3))]
    shapes = draw(st.permutations([grown, *others]))
    settings = {"shuffled": draw(st.integers(0, 9))} if draw(st.booleans()) else {}
    group = with_block(block, shapes, draw(st.integers(1, 5)), **settings)
    return draw(placed(shared(draw, group)))


def shared(draw, group):
    """Have some slots the rows of earlier ones with as many blocks."""
    firsts, slots, count = {}, [], 0
    for slot in group.slots:
        grid = num_blocks(slot.shape, group.banks[0].shape)
        first = draw(st.sampled_from([count, *firsts.get(grid, [])]))
        if first == count:
            firsts.setdefault(grid, []).append(first)
            count += math.prod(grid)
        slots.append(slot.model_copy(update={"rows": (first,)}))
    bank = group.banks[0].model_copy(update={"rows": count})
    return group.model_copy(update={"slots": tuple(slots), "banks": (bank,)})


@st.composite
def placed(draw, group):
    """Let some slots stand elsewhere."""
    places = st.one_of(st.none(), st.integers(0, 30))
    slots = [slot.model_copy(update={"place": draw(places)}) for slot in group.slots]
    return group.model_copy(update={"slots": tuple(slots)})


@st.composite
def exact(draw):
    """As many templates as blocks."""
    block = (draw(SIDE), draw(SIDE))
    shapes = [block, (block[0] * 2, block[1] + 1), (block[0] + 1, block[1])]
    return with_block(block, shapes, 7)


TWIN = Twin(weights=weights, groups=groups(), exact=exact(), keeps_unread=True)
