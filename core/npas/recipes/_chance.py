"""Pseudo-random numbers of our own: a file gives the same network under every later version."""

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Codes = NDArray[np.int32] | NDArray[np.int64]
"""A place and a sign in one number: the place itself for +, its bitwise not for -."""

_AT_A_TIME = 1 << 20  # scalars that are drawn together: what they need on the way stays small


def hashes(count: int, seed: int, *, first: int = 0) -> Hashes:
    """Return pseudo-random 64-bit numbers, no two equal: outputs of the splitmix64 generator.

    Source: Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.

    Args:
        count: of numbers.
        seed: of the generator.
        first: how many of its numbers are passed over.
    """
    found = np.empty(count, dtype=np.uint64)
    for start in range(0, count, _AT_A_TIME):
        stop = min(count, start + _AT_A_TIME)
        state = np.arange(first + start + 1, first + stop + 1, dtype=np.uint64)
        state *= np.uint64(0x9E3779B97F4A7C15)
        state += np.uint64(seed * 0xD1342543DE82EF95 % 2**64)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        found[start:stop] = state ^ (state >> np.uint64(31))
    return found


def shuffled_rows(rows: int, size: int, seed: int) -> Codes:
    """Return a fixed random order and fixed random signs of the scalars of every row.

    Args:
        rows: of scalars that change places with one another.
        size: scalars of each.
        seed: of both.

    Returns:
        (rows * size,) codes: places among the scalars of all rows.
    """
    codes = _codes(rows * size, most=rows * size)
    step = max(1, _AT_A_TIME // size)
    for first in range(0, rows, step):
        count = min(step, rows - first)
        drawn = hashes(count * size, seed, first=first * size).reshape(count, size)
        places = drawn.argsort(axis=1)  # any sort will do: no two hashes are equal
        places += np.arange(first, first + count)[:, None] * size
        np.invert(places, out=places, where=_is_even(drawn))
        codes[first * size : (first + count) * size] = places.reshape(-1)
    return codes


def shuffled_ring(count: int, size: int, seed: int) -> Codes:
    """Return, for scalars in a fixed random order, places in a ring, round and round, and signs.

    Args:
        count: of scalars.
        size: places of the ring.
        seed: of order and signs.

    Returns:
        (count,) codes.
    """
    drawn = hashes(count, seed)
    codes = _codes(count, most=size)
    codes[drawn.argsort()] = np.resize(np.arange(size, dtype=codes.dtype), count)
    np.invert(codes, out=codes, where=_is_even(drawn))
    return codes


def _is_even(drawn: Hashes) -> NDArray[np.bool_]:
    """Return whose sign is -1."""
    even: NDArray[np.bool_] = (drawn & np.uint64(1)) == 0
    return even


def _codes(count: int, *, most: int) -> Codes:
    """Return room for codes: four bytes each, eight where places are too many for four."""
    return np.empty(count, np.int32) if most <= 2**31 else np.empty(count, np.int64)
