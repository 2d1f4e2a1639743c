"""A flat bank T of B scalars; a layer of N = out * in * taps scalars, W its flat weight.

N <= B: K = min(ceil(B / N), max_windows) windows from floor(k (B - N) / (K - 1)) on, W = sum_k
alpha_k T[start_k + j]; a lone window has no alpha. N > B: `repeat` W[j] = T[j mod B]; `mask` the
same times m[j div B - 1, (j mod B) mod 9] but for the first copy; `wavg` W[j] = a[p, 0] T[q] +
a[p, 1] T[h + q] with h = B div 2, p = j div h, q = j mod h; `interpolate` takes T as a grid of
kernels and enlarges it, as torch does with align_corners=False. All alphas over
the group's row length, all W times `gain_of`, and over the root of the variance that enlarging
leaves.
"""

import math

import numpy as np
import torch
from hypothesis import strategies as st
from npas.plans import Bank
from npas.plans.windows import reading
from npas.testing import Twin, gain_of, group_of

SIDE = st.integers(1, 5)
KERNEL = st.sampled_from([(), (2,), (1, 1), (3, 3)])


def enlarge(cells, shape):
    """Enlarge (rows, columns, taps) to (out, in, taps)."""
    source = torch.from_numpy(np.ascontiguousarray(cells.transpose(2, 0, 1)))[None]
    how = {"mode": "bilinear", "align_corners": False}
    return torch.nn.functional.interpolate(source, shape[:2], **how)[0].numpy().transpose(1, 2, 0)


def power_left(grid, shape, size):
    """Return E W^2 for scalars of mean square 1 whose sum is exactly 0, from unit impulses."""
    cells = grid[0] * grid[1]
    squares = np.zeros(shape[:2])
    for cell in range(cells):
        impulse = np.zeros((cells, 1))
        impulse[cell] = 1
        squares += enlarge(impulse.reshape(*grid, 1), shape)[:, :, 0] ** 2
    return (size * squares.mean() - 1) / (size - 1) if size > 1 else 1.0


def one(slot, bank, T, alphas, settings):
    """Return one flat weight without its gain, and the power that is left."""
    N, B = math.prod(slot.shape), bank.size
    taps, way = math.prod(slot.shape[2:]), settings["upsample"]
    rest = iter(alphas)
    if N <= B:
        count = min(math.ceil(B / N), settings["max_windows"])
        if count == 1:
            return T[:N].copy(), 1
        starts = [math.floor(k * (B - N) / (count - 1)) for k in range(count)]
        return sum(next(rest) * T[start : start + N] for start in starts), 1
    if way == "interpolate" or (way == "wavg" and B == 1):
        grid = reading(slot.shape, B, **settings).grid
        cells = T[: grid[0] * grid[1] * taps].reshape(*grid, taps)
        return enlarge(cells, slot.shape).reshape(-1), power_left(grid, slot.shape, B)
    W, half, masks = np.zeros(N), B // 2, {}
    for j in range(N):
        if way == "wavg":
            a = masks.setdefault(j // half, None) or (next(rest), next(rest))
            masks[j // half] = a
            W[j] = a[0] * T[j % half] + a[1] * T[half + j % half]
            continue
        key = (j // B, j % B % 9)
        if way == "mask" and key[0] and key not in masks:
            masks[key] = next(rest)
        W[j] = masks.get(key, 1) * T[j % B]
    return W, 1


def weights(group, templates, coefficients):
    """Return the weights of all slots."""
    (bank,), found, first = group.banks, [], 0
    alphas = np.zeros(0) if coefficients[0] is None else coefficients[0][:, 0]
    for slot in group.slots:
        count = reading(slot.shape, bank.size, **group.settings).coefficients
        own = alphas[first : first + count] / (group.row_length or 1)
        W, power = one(slot, bank, templates[0][0], own, group.settings)
        gain = gain_of(group, bank, slot, mixed=False) / math.sqrt(power)
        found.append((gain * W).reshape(slot.shape))
        first += count
    return found


@st.composite
def groups(draw):
    """Layers of any shapes and kernels; a bank that the largest layer reads to the end."""
    settings = {
        "upsample": draw(st.sampled_from(["interpolate", "repeat", "mask", "wavg"])),
        "max_windows": draw(st.integers(1, 4)),
    }
    shape = st.builds(lambda o, i, kernel: (o, i, *kernel), SIDE, SIDE, KERNEL)
    shapes = draw(st.lists(shape, min_size=1, max_size=4))
    largest = max(shapes, key=math.prod)
    least = max(math.prod(s[2:]) for s in shapes)
    sizes = [
        size
        for size in range(least, settings["max_windows"] * math.prod(largest) + 1)
        if any(reading(s, size, **settings).span == size for s in shapes)
    ]
    size = draw(st.sampled_from(sizes))
    counts = [reading(s, size, **settings).coefficients for s in shapes]
    bank = Bank(shape=draw(st.sampled_from(shapes)), size=size, templates=1, rows=sum(counts))
    rows = [[sum(counts[:index])] for index in range(len(shapes))]
    return group_of("slice", [bank], shapes, rows, **settings)


@st.composite
def exact(draw):
    """A lone layer and a bank of its size."""
    shape = draw(st.builds(lambda o, i, kernel: (o, i, *kernel), SIDE, SIDE, KERNEL))
    bank = Bank(shape=shape, size=math.prod(shape), templates=1, rows=0)
    return group_of("slice", [bank], [shape], [[0]])


TWIN = Twin(weights=weights, groups=groups(), exact=exact())
