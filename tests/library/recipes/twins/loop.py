"""W_l = s_l sum_k A_r(l)k T_k: a row of coefficients per distinct weight, some layers scaled.

The scalars s are the templates of the second bank, one each; a layer without one has s = 1.
"""

import math

import numpy as np
from hypothesis import strategies as st
from npas.plans import Bank
from npas.testing import Twin, gain_of, group_of

SIDE = st.integers(1, 6)
SHAPES = st.tuples(SIDE, SIDE, st.sampled_from([(), (1,), (2, 2), (3, 1)])).map(
    lambda drawn: (*drawn[:2], *drawn[2])
)


def weights(group, templates, coefficients):
    """Sum the templates, each times its coefficient; ones where there are none."""
    found = []
    for slot in group.slots:
        alphas = np.ones(1) if coefficients[0] is None else coefficients[0][slot.rows[0]]
        scalar = gain_of(group, group.banks[0], slot, mixed=coefficients[0] is not None)
        if len(slot.rows) > 1 and slot.rows[1] is not None:
            scalar *= templates[1][slot.rows[1], 0]
        weight = np.zeros(math.prod(slot.shape))
        for alpha, template in zip(alphas, templates[0], strict=True):
            weight += scalar * alpha * template
        found.append(weight.reshape(slot.shape))
    return found


def with_scalars(shape, templates, rows, repeats, places):
    """Return a group; `places` has for each layer which scalar it takes, or None."""
    banks = [Bank(shape=shape, size=math.prod(shape), templates=templates, rows=rows)]
    count = sum(place is not None for place in places)
    if count:
        banks.append(Bank(shape=(1, 1), size=1, templates=count, rows=0))
    taken = [(r, p) if count else (r,) for r, p in zip(repeats, places, strict=True)]
    return group_of("loop", banks, [shape] * len(repeats), taken)


@st.composite
def groups(draw):
    """One distinct weight as it is, or several as mixes; any layers scaled, in any order."""
    shape, rows, users = draw(SHAPES), draw(st.integers(0, 3)), draw(st.integers(1, 5))
    users = max(users, rows)
    rest = [draw(st.integers(0, max(rows - 1, 0))) for _ in range(users - rows)]
    repeats = draw(st.permutations([*range(rows), *rest]))
    is_scaled = draw(st.lists(st.booleans(), min_size=users, max_size=users))
    order = iter(draw(st.permutations(range(sum(is_scaled)))))
    places = [next(order) if scaled else None for scaled in is_scaled]
    templates = draw(st.integers(1, 4)) if rows else 1
    return with_scalars(shape, templates, rows, repeats, places)


@st.composite
def exact(draw):
    """A template and a row for every layer, scaled or not."""
    shape, users = draw(SHAPES), draw(st.integers(1, 4))
    is_scaled = draw(st.lists(st.booleans(), min_size=users, max_size=users))
    places = [sum(is_scaled[:index]) if scaled else None for index, scaled in enumerate(is_scaled)]
    return with_scalars(shape, users, users, range(users), places)


TWIN = Twin(weights=weights, groups=groups(), exact=exact())
