"""Pseudo-random numbers of our own: a file gives the same network under every later version."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Codes = NDArray[np.int32] | NDArray[np.int64]
"""A place and a sign in one number: the place itself for +, its bitwise not for -."""

Runs = Sequence[tuple[int, int]]
"""First and number of things that lie together."""

AT_A_TIME = 1 << 20  # scalars that are drawn together: what they need on the way stays small


def hashes(count: int, seed: int, *, first: int = 0) -> Hashes:
    """Return pseudo-random 64-bit numbers, no two equal: outputs of the splitmix64 generator.

    Source: Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.

    Args:
        count: of numbers.
        seed: of the generator.
        first: how many of its numbers are passed over.
    """
    found = np.empty(count, dtype=np.uint64)
    for start in range(0, count, AT_A_TIME):
        stop = min(count, start + AT_A_TIME)
        state = np.arange(first + start + 1, first + stop + 1, dtype=np.uint64)
        state *= np.uint64(0x9E3779B97F4A7C15)
        state += np.uint64(seed * 0xD1342543DE82EF95 % 2**64)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        found[start:stop] = state ^ (state >> np.uint64(31))
    return found


def shuffled_rows(runs: Runs, size: int, seed: int) -> Codes:
    """Return a fixed random order and fixed random signs of the scalars of every row.

    Args:
        runs: of rows, whose scalars change places with one another: the number of the first, which
            says in what order, and how many follow one another.
        size: scalars of each row.
        seed: of both.

    Returns:
        Codes of the scalars of all these rows: places among them.
    """
    rows = sum(count for _, count in runs)
    codes = room_for_codes(rows * size, most=rows * size)
    step, row = max(1, AT_A_TIME // size), 0
    for start, number in runs:
        for first in range(start, start + number, step):
            count = min(step, start + number - first)
            drawn = hashes(count * size, seed, first=first * size).reshape(count, size)
            places = drawn.argsort(axis=1)  # any sort will do: no two hashes are equal
            places += np.arange(row, row + count)[:, None] * size
            np.invert(places, out=places, where=is_even(drawn))
            codes[row * size : (row + count) * size] = places.reshape(-1)
            row += count
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
    codes = room_for_codes(count, most=size)
    codes[drawn.argsort()] = np.resize(np.arange(size, dtype=codes.dtype), count)
    np.invert(codes, out=codes, where=is_even(drawn))
    return codes


def is_even(drawn: Hashes) -> NDArray[np.bool_]:
    """Return whose sign is -1."""
    even: NDArray[np.bool_] = (drawn & np.uint64(1)) == 0
    return even


def room_for_codes(count: int, *, most: int) -> Codes:
    """Return room for codes: four bytes each, eight where places are too many for four."""
    return np.empty(count, np.int32) if most <= 2**31 else np.empty(count, np.int64)
