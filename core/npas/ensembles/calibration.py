"""How far probabilities can be believed: confidence against how often it is right, in bins."""

import torch
from torch import Tensor

BINS = 15
"""Equal-width bins of confidence for the calibration error, as in Guo et al., 2017."""


def binned(confidence: Tensor, hits: Tensor) -> Tensor:
    """Return what lies in each bin, float64 `(3, BINS)`: answers, right ones, confidence summed.

    Args:
        confidence: `(N,)`, 0 to 1, float64.
        hits: whether each answer is right, `(N,)`.
    """
    sums = torch.zeros(3, BINS, dtype=torch.float64, device=confidence.device)
    # Bin i is (i/15, (i+1)/15].
    index = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    sums[0].index_add_(0, index, torch.ones_like(confidence, dtype=torch.float64))
    sums[1].index_add_(0, index, hits.double())
    sums[2].index_add_(0, index, confidence.double())
    return sums


def calibration_error(bins: Tensor) -> float:
    """Return the expected calibration error, 0 to 1, of what `binned` returned, or sums of it."""
    answers = float(bins[0].sum())
    return float((bins[1] - bins[2]).abs().sum()) / max(1.0, answers)
