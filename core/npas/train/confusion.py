"""Which classes a network takes for which, and the F1 of each."""

from dataclasses import dataclass

import torch
from torch import Tensor

MOST_CLASSES = 100
"""Up to so many, the whole matrix is kept; beyond, the pairs that are confused most."""

MOST_PAIRS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """What was said of images of each class.

    Attributes:
        macro_f1: mean over classes of 2 TP / (said + is), where there are such images or some were
            said to be; as scikit-learn's f1_score(average="macro").
        counts: images of class (row) that were said to be of class (column); None where there are
            more than `MOST_CLASSES`.
        pairs: class, class that it was taken for, images; the most first.
    """

    macro_f1: float
    counts: tuple[tuple[int, ...], ...] | None
    pairs: tuple[tuple[int, int, int], ...]


def confusion(labels: Tensor, said: Tensor, num_classes: int) -> Confusion:
    """Compare answers.

    Args:
        labels: int64 `(N,)`, the right ones, on the CPU.
        said: likewise, those of the network.
        num_classes: labels are below.
    """
    wanted, given = (each.bincount(minlength=num_classes) for each in (labels, said))
    both = labels[labels == said].bincount(minlength=num_classes)
    seen = wanted + given
    f1 = (2 * both.double() / seen.clamp(min=1))[seen > 0]
    places, counts = torch.unique(labels * num_classes + said, return_counts=True)
    wrong = (places // num_classes) != (places % num_classes)
    ranked = counts[wrong].argsort(descending=True, stable=True)[:MOST_PAIRS]
    chosen = zip(places[wrong][ranked].tolist(), counts[wrong][ranked].tolist(), strict=True)
    matrix = None
    if num_classes <= MOST_CLASSES:
        flat = torch.zeros(num_classes**2, dtype=torch.int64).scatter(0, places, counts)
        matrix = tuple(map(tuple, flat.view(num_classes, num_classes).tolist()))
    return Confusion(
        macro_f1=float(f1.mean()),
        counts=matrix,
        pairs=tuple((place // num_classes, place % num_classes, n) for place, n in chosen),
    )
