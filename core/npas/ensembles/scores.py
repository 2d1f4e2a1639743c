"""How good answers are, and how much networks differ in theirs."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from npas.ensembles.calibration import binned, calibration_error
from npas.ensembles.predictions import Predictions


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Of answers to labelled images.

    Attributes:
        accuracy: share of images whose most likely class is right, 0 to 1.
        nll: negative log likelihood of the right class, nats, mean over images. Log of the mean
            probability, where several networks answer; never a mean of their own.
        ece: expected calibration error, 0 to 1, over 15 equal-width bins of confidence.
    """

    accuracy: float
    nll: float
    ece: float


def score(log_p: Tensor, labels: Tensor) -> Scores:
    """Return the scores of log-probabilities `(N, classes)` for labels `(N,)`."""
    best = log_p.max(dim=1)
    hits = best.indices == labels
    bins = binned(best.values.double().exp(), hits)
    return Scores(
        accuracy=float(hits.double().mean()),
        nll=float(-log_p.gather(1, labels[:, None]).double().mean()),
        ece=calibration_error(bins),
    )


def disagreement(predictions: Predictions, one: str, other: str) -> float:
    """Return the share of images that two networks take for different classes, 0 to 1."""
    mine, theirs = (predictions.log_p[name].argmax(dim=1) for name in (one, other))
    return float((mine != theirs).double().mean())


def mean_disagreement(predictions: Predictions, names: Sequence[str]) -> float | None:
    """Return the mean over all pairs of some networks; None of a lone network."""
    pairs = list(itertools.combinations(names, 2))
    if not pairs:
        return None
    return sum(disagreement(predictions, *pair) for pair in pairs) / len(pairs)


def diversity(disagreement: float | None, accuracy: float) -> float | None:
    """Return the mean disagreement over the error of the networks together.

    Source: the released SuperWeights code.

    Args:
        disagreement: from `mean_disagreement`; None of a lone network, which has no diversity.
        accuracy: of the networks together; of 1 there is no diversity either, but None.
    """
    return None if disagreement is None or accuracy >= 1 else disagreement / (1 - accuracy)
