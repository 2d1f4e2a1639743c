"""How a layer of any shape reads a flat bank: windows of it, or more than all of it.

Source: Plummer et al., "Neural Parameter Allocation Search", ICLR 2022, section 3.1. A layer that
is smaller than its bank mixes several windows of it; a larger one is up-sampled from it.
Differences from the released code, which leaves 6 to 43 % of a bank unread:
* windows are spread evenly from the bank's first scalar to its last and may overlap, as many as
  are needed to read all of it (the code lays them end to end and drops the rest);
* interpolation takes the grid that reads most of the bank (the code tries steps of 5 %), and
  never mixes the taps of a kernel with one another (the code flattens them into the columns);
* `mask` starts at plus or minus 1 (the code at 1 / (9 r), which makes later copies vanish).
"""

import dataclasses
import functools
import math
from typing import Literal

Upsample = Literal["interpolate", "repeat", "mask", "wavg"]
"""How a layer larger than its bank is made: a bilinear enlargement, plain copies, copies under
learned masks, or learned sums of the bank's two halves."""

MASK = 9
"""Scalars under one row of a mask: one 3x3 kernel, as in the released code."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What one layer takes from a bank.

    Attributes:
        kind: "windows", or the way of up-sampling.
        coefficients: trainable scalars of its own.
        span: scalars read, from the bank's first on; less than the bank where windows leave gaps.
        starts: of its windows.
        grid: (rows, columns) that are enlarged, for `interpolate`.
    """

    kind: Literal["windows", "interpolate", "repeat", "mask", "wavg"]
    coefficients: int
    span: int
    starts: tuple[int, ...] = ()
    grid: tuple[int, int] = (0, 0)


@functools.lru_cache(maxsize=65536)
def reading(shape: tuple[int, ...], bank: int, *, upsample: Upsample, max_windows: int) -> Reading:
    """Return how a layer reads a bank.

    Args:
        shape: of the layer's weight, (out, in, *kernel).
        bank: scalars in the bank, at least those of the kernel.
        upsample: for a layer larger than the bank.
        max_windows: most windows of one layer.
    """
    size, taps = math.prod(shape), math.prod(shape[2:])
    if size <= bank:
        return _windows(size, bank, max_windows)
    if upsample == "repeat":
        return Reading(kind="repeat", coefficients=0, span=bank)
    if upsample == "mask":
        whole, rest = divmod(size - bank, bank)
        rows = whole * min(MASK, bank) + min(MASK, rest)
        return Reading(kind="mask", coefficients=rows, span=bank)
    if upsample == "wavg" and bank > 1:
        half = bank // 2
        return Reading(kind="wavg", coefficients=2 * -(-size // half), span=2 * half)
    rows, columns = grid(shape[0], shape[1], bank // taps)
    return Reading(
        kind="interpolate", coefficients=0, span=rows * columns * taps, grid=(rows, columns)
    )


def _windows(size: int, bank: int, most: int) -> Reading:
    count = min(-(-bank // size), most)
    steps = max(1, count - 1)
    starts = tuple(k * (bank - size) // steps for k in range(count))
    covers = count * size >= bank
    return Reading(
        kind="windows",
        coefficients=count if count > 1 else 0,
        span=bank if covers else size,
        starts=starts,
    )


def grid(high: int, wide: int, cells: int) -> tuple[int, int]:
    """Return the (rows, columns) with the weight's proportions that use most of some cells."""
    ideal = math.sqrt(cells * high / wide)
    near = range(max(1, math.floor(ideal) - 3), math.floor(ideal) + 5)
    choices = [(r, min(wide, cells // r)) for r in near if r <= high and cells >= r]
    choices = choices or [(min(high, cells), max(1, min(wide, cells // high)))]
    return max(choices, key=lambda rc: (rc[0] * rc[1], -abs(rc[0] - ideal)))


def grid_of(shape: tuple[int, ...], size: int) -> tuple[int, int]:
    """Return the (rows, columns) of kernels that a template of some scalars is for a layer."""
    return grid(shape[0], shape[1], size // math.prod(shape[2:]))


def num_read(shape: tuple[int, ...], size: int) -> int:
    """Return how many leading scalars of a template a layer reads that is resized from it."""
    rows, columns = grid_of(shape, size)
    return rows * columns * math.prod(shape[2:])


def num_map(windows: int, embedding: int) -> int:
    """Return the scalars of a map from a layer's vector to its windows: weights and biases.

    Args:
        windows: that it mixes.
        embedding: scalars of the vector.
    """
    return (embedding + 1) * windows


def largest_bank(shapes: list[tuple[int, ...]], *, max_windows: int) -> int:
    """Return the scalars that layers of these shapes can read at most."""
    return max_windows * max(math.prod(shape) for shape in shapes)


def all_read(
    shapes: list[tuple[int, ...]], bank: int, *, upsample: Upsample, max_windows: int
) -> int:
    """Return the largest bank up to a size of which the largest layer reads every scalar."""
    largest = max(shapes, key=math.prod)
    bank = min(bank, largest_bank(shapes, max_windows=max_windows))
    while True:
        span = reading(largest, bank, upsample=upsample, max_windows=max_windows).span
        if span == bank:
            return bank
        bank = span
