"""W_l = sum_k alpha_lk T_k: one bank, every layer reads it whole (ICLR 2019, equation 1)."""

import math

import numpy as np
from hypothesis import strategies as st
from npas.plans import Bank
from npas.testing import Twin, banks, gain_of, group_of

SIDE = st.integers(1, 6)
SHAPES = st.tuples(SIDE, SIDE, st.sampled_from([(), (1,), (2, 2), (3, 1)])).map(
    lambda drawn: (*drawn[:2], *drawn[2])
)


def weights(group, templates, coefficients):
    """Sum the templates, each times its coefficient; ones where there are none."""
    found = []
    for slot in group.slots:
        alphas = np.ones(1) if coefficients[0] is None else coefficients[0][slot.rows[0]]
        gain = gain_of(group, group.banks[0], slot, mixed=coefficients[0] is not None)
        weight = np.zeros(math.prod(slot.shape))
        for alpha, template in zip(alphas, templates[0], strict=True):
            weight += gain * alpha * template
        found.append(weight.reshape(slot.shape))
    return found


@st.composite
def groups(draw):
    """Layers of one shape; rows of their own or tied; fewer or more templates than rows."""
    shape, users = draw(SHAPES), draw(st.integers(1, 5))
    bank, rows = draw(banks(shape, math.prod(shape), users))
    return group_of("mix", [bank], [shape] * users, [[row] for row in rows])


@st.composite
def exact(draw):
    """A template and a row for every layer."""
    shape, users = draw(SHAPES), draw(st.integers(1, 4))
    rows = users if users > 1 else 0
    bank = Bank(shape=shape, size=math.prod(shape), templates=users, rows=rows)
    return group_of("mix", [bank], [shape] * users, [[row] for row in range(users)])


TWIN = Twin(weights=weights, groups=groups(), exact=exact())
