"""Some of many scalars in a fixed random order, drawn without memory for all of them."""

import numpy as np

from npas.recipes._chance import AT_A_TIME, Codes, Runs, hashes, is_even, room_for_codes


def ring_of_some(runs: Runs, count: int, size: int, seed: int) -> Codes:
    """Return what `shuffled_ring` gives some of its scalars, without memory for all of them.

    Args:
        runs: first and number of scalars that lie together, in order.
        count: of all scalars.
        size: as for `shuffled_ring`.
        seed: likewise.
    """
    drawn = np.concatenate([hashes(number, seed, first=first) for first, number in runs])
    order = drawn.argsort()
    ascending = drawn[order]
    smaller = np.zeros(len(drawn) + 1, dtype=np.int64)
    for start in range(0, count, AT_A_TIME):
        others = hashes(min(AT_A_TIME, count - start), seed, first=start)
        others.sort()
        after = np.searchsorted(ascending, others, side="right")
        smaller += np.bincount(after, minlength=len(smaller))
    codes = room_for_codes(len(drawn), most=size)
    codes[order] = smaller[:-1].cumsum() % size
    np.invert(codes, out=codes, where=is_even(drawn))
    return codes
