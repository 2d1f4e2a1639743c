"""W = gain * enlarge(sum_k alpha_k T_k): the mix as a grid of kernels, enlarged bilinearly.

The grid has the layer's proportions; the gain is sqrt(fan-in of the bank's shape / fan-in of the
layer) over the root of the variance that enlarging independent scalars leaves.
"""

import math

import numpy as np
import torch
from hypothesis import strategies as st
from npas.plans import Bank
from npas.plans.windows import grid_of, num_read
from npas.testing import Twin, banks, gain_of, group_of

SIDE = st.integers(1, 5)
KERNEL = st.sampled_from([(), (2,), (1, 1), (3, 3)])
SHAPE = st.builds(lambda o, i, kernel: (o, i, *kernel), SIDE, SIDE, KERNEL)


def enlarge(cells, shape):
    """Enlarge (rows, columns, taps) to (out, in, taps)."""
    source = torch.from_numpy(np.ascontiguousarray(cells.transpose(2, 0, 1)))[None]
    how = {"mode": "bilinear", "align_corners": False}
    return torch.nn.functional.interpolate(source, shape[:2], **how)[0].numpy().transpose(1, 2, 0)


def power_left(grid, shape):
    """Return the mean square of an enlarged grid of independent scalars of mean square 1."""
    impulses = np.eye(grid[0] * grid[1]).reshape(*grid, -1)
    return (enlarge(impulses, shape) ** 2).sum(axis=2).mean()


def weights(group, templates, coefficients):
    """Return the weights of all slots."""
    (bank,), found = group.banks, []
    for slot in group.slots:
        grid, taps = grid_of(slot.shape, bank.size), math.prod(slot.shape[2:])
        mixed = sum(
            a * T for a, T in zip(coefficients[0][slot.rows[0]], templates[0], strict=True)
        )
        cells = mixed[: grid[0] * grid[1] * taps].reshape(*grid, taps)
        gain = gain_of(group, bank, slot, mixed=True) / math.sqrt(power_left(grid, slot.shape))
        found.append((gain * enlarge(cells, slot.shape)).reshape(slot.shape))
    return found


@st.composite
def groups(draw):
    """Layers of any shapes and kernels, larger and smaller than a template."""
    shapes = draw(st.lists(SHAPE, min_size=1, max_size=4))
    least = max(math.prod(shape[2:]) for shape in shapes)
    sizes = [n for n in range(least, 80) if any(num_read(shape, n) == n for shape in shapes)]
    bank, rows = draw(banks(draw(st.sampled_from(shapes)), draw(st.sampled_from(sizes)), 9))
    used = sorted(set(rows[: len(shapes)]))
    bank = Bank(shape=bank.shape, size=bank.size, templates=bank.templates, rows=max(1, len(used)))
    return group_of("resize", [bank], shapes, [[used.index(r)] for r in rows[: len(shapes)]])


TWIN = Twin(weights=weights, groups=groups())
