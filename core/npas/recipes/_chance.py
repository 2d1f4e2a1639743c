"""Pseudo-random numbers of our own: a file gives the same network under every later version."""

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]


def hashes(count: int, seed: int) -> Hashes:
    """Return pseudo-random 64-bit numbers: the outputs of the splitmix64 generator.

    Source: Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state += np.uint64(seed * 0xD1342543DE82EF95 % 2**64)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def shuffle(rows: int, size: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Return a fixed random order and fixed random signs of the scalars of every row.

    Args:
        rows: of scalars that change places with one another.
        size: scalars of each.
        seed: of both.

    Returns:
        (rows, size) each: places, and signs as 1 and -1.
    """
    drawn = hashes(rows * size, seed).reshape(rows, size)
    signs = (drawn & np.uint64(1)).astype(np.int8) * 2 - 1
    return drawn.argsort(axis=1, kind="stable"), signs
