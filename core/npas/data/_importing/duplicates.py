"""Images that are there more than once, and those that give the answer away."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from npas.data._importing.album import SPLITS, Split
from npas.data._importing.gathering import Gathered
from npas.data._importing.splitting import Order


@dataclass(frozen=True, kw_only=True, slots=True)
class Copies:
    """One picture that is there several times: the same pixels, as networks will read them.

    Attributes:
        names: of the files.
        splits: of each.
        labels: of each.
    """

    names: tuple[str, ...]
    splits: tuple[Split, ...]
    labels: tuple[int, ...]

    @property
    def is_leak(self) -> bool:
        """Whether a network is graded, or chosen, by what it was trained on."""
        return len(set(self.splits)) > 1

    @property
    def is_torn(self) -> bool:
        """Whether it is of several classes."""
        return len(set(self.labels)) > 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What was found.

    Attributes:
        copies: every picture that is there several times.
        spare: places in `Gathered` of training images that need not be there.
    """

    copies: tuple[Copies, ...]
    spare: frozenset[int] = field(default_factory=frozenset)


def duplicates(gathered: Gathered, content: Sequence[str], order: Order) -> Found:
    """Find images of the same pixels, within splits and across them."""
    split_of: dict[int, Split] = {int(index): split for split in SPLITS for index in order[split]}
    places: dict[str, list[int]] = {}
    for index in sorted(split_of):
        places.setdefault(content[index], []).append(index)
    several = [group for group in places.values() if len(group) > 1]
    spare: set[int] = set()
    for group in several:
        training = [index for index in group if split_of[index] == "train"]
        is_leak = len(training) < len(group)
        spare.update(training if is_leak else training[1:])
    copies = tuple(
        Copies(
            names=tuple(gathered.names[index] for index in group),
            splits=tuple(split_of[index] for index in group),
            labels=tuple(int(gathered.labels[index]) for index in group),
        )
        for group in several
    )
    return Found(copies=copies, spare=frozenset(spare))


def without(order: Order, spare: frozenset[int]) -> Order:
    """Return the splits without some training images."""
    kept = np.array([index for index in order["train"] if int(index) not in spare], np.int64)
    return {**order, "train": kept}
