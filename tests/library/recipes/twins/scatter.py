"""W[j] = gain * s(p) * T[rank(p) mod B], p the place of the scalar among those of all layers.

rank(p) is how many of the hashes of all places are smaller; s(p) is -1 for an even hash, 1 for an
odd one; a hash is splitmix64 of the place, in Python's own integers. The gain is
that of `gain_of`.
"""

import math

import numpy as np
from hypothesis import strategies as st
from npas.plans import Bank
from npas.testing import Twin, gain_of, group_of

SIDE = st.integers(1, 4)
SHAPE = st.builds(
    lambda o, i, kernel: (o, i, *kernel), SIDE, SIDE, st.sampled_from([(), (2,), (3, 3)])
)
WORD = 2**64


def splitmix(place, seed):
    """Return the hash of one place."""
    state = ((place + 1) * 0x9E3779B97F4A7C15 + seed * 0xD1342543DE82EF95) % WORD
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % WORD
    return state ^ (state >> 31)


def weights(group, templates, coefficients):
    """Fill every weight scalar by scalar."""
    (bank,), ((T,),) = group.banks, templates
    assert coefficients == [None]
    total = sum(math.prod(slot.shape) for slot in group.slots)
    hashes = [splitmix(place, group.settings.get("seed", 0)) for place in range(total)]
    rank = {place: n for n, place in enumerate(sorted(range(total), key=hashes.__getitem__))}
    place, found = 0, []
    for slot in group.slots:
        gain = gain_of(group, bank, slot, mixed=False)
        weight = np.zeros(math.prod(slot.shape))
        for j in range(len(weight)):
            sign = 1 if hashes[place] % 2 else -1
            weight[j] = gain * sign * T[rank[place] % bank.size]
            place += 1
        found.append(weight.reshape(slot.shape))
    return found


@st.composite
def groups(draw, whole=False):
    """Layers of any shapes; a bank of at most as many scalars as they have."""
    shapes = draw(st.lists(SHAPE, min_size=1, max_size=4))
    most = sum(math.prod(shape) for shape in shapes)
    size = most if whole else draw(st.integers(1, most))
    bank = Bank(shape=draw(st.sampled_from(shapes)), size=size, templates=1, rows=0)
    settings = {"seed": draw(st.integers(0, 2**31 - 1))} if draw(st.booleans()) else {}
    return group_of("scatter", [bank], shapes, [[0]] * len(shapes), **settings)


TWIN = Twin(weights=weights, groups=groups(), exact=groups(whole=True))
