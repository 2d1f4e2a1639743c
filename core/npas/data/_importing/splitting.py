"""Which images are trained on, held out, and graded on, where nobody said so.

A split that is missing takes a tenth of each class's images; which ones follows from their pixels
and the seed alone, and copies stay together.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from npas.data._importing.album import SPLITS, Split
from npas.data._importing.gathering import Gathered
from npas.spec import ImageOptions

SHARE = 0.1
"""Of the images of each class, for each split that is missing."""

Order = Mapping[Split, np.ndarray[Any, np.dtype[np.int64]]]
"""Which images are in each split, in their order there."""


def digests(gathered: Gathered) -> list[str]:
    """Return a digest of the pixels of each image, as networks will read them."""
    return [
        hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).hexdigest()
        for image in gathered.images
    ]


def assigned(
    gathered: Gathered, content: Sequence[str], options: ImageOptions, *, is_ordered: bool
) -> tuple[Order, str]:
    """Return the images of each split, and how that came about, a sentence.

    Args:
        gathered: images, with the splits that are known.
        content: digest of each.
        options: split_seed counts.
        is_ordered: whether splits and order are somebody's, of arrays; else the order is mixed,
            so that the first images of a dataset are of all classes.
    """
    splits = [split or "train" for split in gathered.splits]
    missing: list[Split] = [split for split in ("test", "validation") if split not in splits]
    if is_ordered:
        missing = []  # who gave arrays has split them; a request says how many are held out
    keys = [_key(options.split_seed, digest) for digest in content]
    pools: dict[int, list[int]] = {}
    for index, label in enumerate(gathered.labels.tolist()):
        if missing and splits[index] == "train":
            pools.setdefault(label, []).append(index)
    for pool in pools.values():
        for split, chosen in zip(missing, _tenths(pool, keys, len(missing)), strict=True):
            for index in chosen:
                splits[index] = split
    order = {split: _members(split, splits, keys, gathered, is_ordered) for split in SPLITS}
    return order, _told(missing, options.split_seed)


def _key(seed: int, digest: str) -> str:
    return hashlib.blake2b(f"{seed}/{digest}".encode(), digest_size=16).hexdigest()


def _tenths(pool: Sequence[int], keys: Sequence[str], times: int) -> list[list[int]]:
    """Return a tenth of a class, so many times: copies stay together, none is taken twice."""
    groups: dict[str, list[int]] = {}
    for index in sorted(pool, key=lambda index: keys[index]):
        groups.setdefault(keys[index], []).append(index)
    wanted = max(1, round(SHARE * len(pool)))
    left, taken = list(groups.values()), []
    for _ in range(times):
        chosen: list[int] = []
        while len(left) > 1 and len(chosen) < wanted:
            chosen += left.pop(0)
        taken.append(chosen)
    return taken


def _members(
    split: Split,
    splits: Sequence[Split],
    keys: Sequence[str],
    gathered: Gathered,
    is_ordered: bool,
) -> np.ndarray[Any, np.dtype[np.int64]]:
    found = [index for index, each in enumerate(splits) if each == split]
    if not is_ordered:
        found.sort(key=lambda index: (keys[index], gathered.names[index]))
    return np.array(found, np.int64)


def _told(missing: Sequence[Split], seed: int) -> str:
    if not missing:
        return "all splits as given"
    share = f"{SHARE:.0%}".replace("%", " %")
    parts = "training, validation and test images 80/10/10: " if len(missing) == 2 else ""
    return (
        f"{parts}{' and '.join(sorted(missing))}: {share} of the training images of each class, "
        f"chosen by their pixels and seed {seed}"
    )
