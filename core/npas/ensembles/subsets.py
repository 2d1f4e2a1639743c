"""Every subset of networks as a predictor of its own: how good it is, and what it costs."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from npas.ensembles.predictions import Predictions
from npas.ensembles.scores import Scores, diversity, mean_disagreement, score

ALL_OF = 8
"""Networks up to which all subsets are looked at, 255; of more, see `subsets_of`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subset:
    """Some networks, whose mean probability is the answer.

    Attributes:
        networks: in their order.
        scores: of the answers.
        disagreement: mean over pairs of the share of images that they take for different classes;
            None of a lone network.
        diversity: that over the error of all together; None of a lone network, or of no error.
        macs: multiply-adds of all of them for one image, with weights composed; FLOPs are twice
            as many.
    """

    networks: tuple[str, ...]
    scores: Scores
    disagreement: float | None
    diversity: float | None
    macs: int


def subsets_of(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield the subsets that are looked at, the smallest first, each in the order of the names.

    Of more than eight networks those are each alone, all pairs, the first n of them, and all.
    """
    sizes = range(1, len(names) + 1) if len(names) <= ALL_OF else (1, 2)
    for size in sizes:
        yield from itertools.combinations(names, size)
    if len(names) > ALL_OF:
        for size in range(3, len(names) + 1):
            yield tuple(names[:size])


def scored(predictions: Predictions, macs: Mapping[str, int]) -> list[Subset]:
    """Return the subsets with their scores, by rising cost.

    Args:
        predictions: of all networks.
        macs: multiply-adds of each network, for one image.
    """
    found = []
    for names in subsets_of(predictions.names):
        scores = score(predictions.together(names), predictions.labels)
        apart = mean_disagreement(predictions, names)
        found.append(
            Subset(
                networks=names,
                scores=scores,
                disagreement=apart,
                diversity=diversity(apart, scores.accuracy),
                macs=sum(macs[name] for name in names),
            )
        )
    return sorted(found, key=lambda each: (each.macs, len(each.networks)))
