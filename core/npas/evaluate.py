"""How good a network is: accuracy, and how far its probabilities can be believed."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from npas.data import Inputs

BINS = 15
"""Equal-width bins of confidence for the calibration error, as in Guo et al., 2017."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What a network scored.

    Attributes:
        top1: share of images whose most likely class is right, 0 to 1.
        top5: share whose right class is among the five most likely, 0 to 1.
        nll: negative log likelihood of the right class, nats, mean over images.
        ece: expected calibration error, 0 to 1, over 15 equal-width bins of confidence.
        images: how many were looked at.
    """

    top1: float
    top5: float
    nll: float
    ece: float
    images: int


def members(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Return each network's logits `(N, classes)` by name; a plain module is one network, "main".

    Args:
        model: anything with a `members` method, or any classifier.
        inputs: float `(N, C, S, S)`.
    """
    method: Any = getattr(model, "members", None)
    logits: dict[str, Tensor] = method(inputs) if callable(method) else {"main": model(inputs)}
    return logits


def log_probabilities(logits: dict[str, Tensor]) -> Tensor:
    """Return the log of the members' mean probability, float64 `(N, classes)`."""
    each = torch.stack([functional.log_softmax(x.double(), dim=1) for x in logits.values()])
    return each[0] if len(each) == 1 else each.logsumexp(dim=0) - math.log(len(each))


def evaluate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    inputs: Inputs,
    batch_size: int = 500,
    device: torch.device | str = "cpu",
    precision: torch.dtype = torch.float32,
) -> Evaluation:
    """Score a network, or the mean of several networks' probabilities.

    The model is evaluated in eval mode and left in the mode it was in.

    Args:
        model: as for `members`, already on the device.
        images: uint8 `(N, C, S, S)`.
        labels: int64 `(N,)`.
        inputs: turns images into what the network reads.
        batch_size: images at a time.
        device: where the model is.
        precision: float32, or bfloat16 for mixed precision.
    """
    device = torch.device(device)
    was_training = model.training
    model.eval()
    tally = _Tally(device)
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=precision == torch.bfloat16)
    with torch.inference_mode(), mixed:
        for start in range(0, len(images), batch_size):
            x = inputs(images[start : start + batch_size].to(device))
            y = labels[start : start + batch_size].to(device)
            tally.add(log_probabilities(members(model, x)), y)
    model.train(was_training)
    return tally.result()


class _Tally:
    """Sums on the device, so that a GPU is asked once, at the end."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(4, dtype=torch.float64, device=device)  # images, top1, top5, nll
        self.bins = torch.zeros(2, BINS, dtype=torch.float64, device=device)  # right, confidence

    def add(self, log_p: Tensor, labels: Tensor) -> None:
        best = log_p.topk(min(5, log_p.shape[1]), dim=1)
        hits = best.indices == labels[:, None]
        confidence = best.values[:, 0].exp()
        nll = -log_p.gather(1, labels[:, None])
        self.sums[0] += len(labels)
        self.sums[1] += hits[:, 0].sum()
        self.sums[2] += hits.sum()
        self.sums[3] += nll.sum()
        # Bin i is (i/15, (i+1)/15].
        index = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
        self.bins[0].index_add_(0, index, hits[:, 0].double())
        self.bins[1].index_add_(0, index, confidence)

    def result(self) -> Evaluation:
        images, top1, top5, nll = self.sums.tolist()
        gap = (self.bins[0] - self.bins[1]).abs().sum().item()
        return Evaluation(
            top1=top1 / images,
            top5=top5 / images,
            nll=nll / images,
            ece=gap / images,
            images=int(images),
        )
