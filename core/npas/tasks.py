"""Tasks: what a network is asked, how wrong its answers are, how good. The targets tell which.

A network answers an image with one class, or each of its cells. Either way its logits have the
classes along dimension 1: `(N, K)`, or `(N, K, S, S)`.
"""

import math
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

TaskName = Literal["classes", "cells"]

Metric = Literal["accuracy", "f1"]


class Task(Protocol):
    """What differs between the tasks."""

    name: TaskName
    metric: Metric
    """What a lone number says of a network, 0 to 1."""

    def hits(self, log_p: Tensor, targets: Tensor) -> Tensor:
        """Return two counts whose sums over batches divide to the metric, float64 `(2,)`.

        Args:
            log_p: log-probabilities, the classes along dimension 1.
            targets: as the dataset has them.
        """


class Classes:
    """One class for an image: targets int64 `(N,)`, logits `(N, K)`, accuracy.

    Of images that are mixed, targets are the shares of the classes in them, float `(N, K)`, and
    an answer is right that names the class with the largest share.
    """

    name: TaskName = "classes"
    metric: Metric = "accuracy"

    def hits(self, log_p: Tensor, targets: Tensor) -> Tensor:
        """Return the images that are right, and all images."""
        wanted = targets if targets.dim() == 1 else targets.argmax(dim=1)
        right = (log_p.argmax(dim=1) == wanted).sum().double()
        return torch.stack([right, right.new_tensor(len(targets))])


class Cells:
    """No (0) or yes (1) for each cell: targets uint8 `(N, S, S)`, logits `(N, 2, S, S)`, F1.

    F1 is 2 TP / (said yes + is yes), counted over all cells of all images: where few cells are
    yes, a network that always says no is right almost everywhere, and its F1 is 0.
    """

    name: TaskName = "cells"
    metric: Metric = "f1"

    def hits(self, log_p: Tensor, targets: Tensor) -> Tensor:
        """Return twice the cells rightly said yes, and the cells said yes plus those that are."""
        said, wanted = log_p.argmax(dim=1) == 1, targets == 1
        both = (said & wanted).sum()
        return torch.stack([2 * both, said.sum() + wanted.sum()]).double()


TASKS: dict[TaskName, Task] = {"classes": Classes(), "cells": Cells()}


def task_of(targets: Tensor) -> Task:
    """Return the task of targets: labels `(N,)`, shares `(N, K)`, or masks `(N, S, S)`."""
    return TASKS["classes" if targets.dim() < 3 else "cells"]


def loss(
    logits: Tensor, targets: Tensor, *, smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Return the cross-entropy of one network, mean over images, or over all their cells.

    Args:
        logits: of one network.
        targets: as the dataset has them; or, of mixed images, shares of the classes, float
            `(N, K)`: then the loss is the mean of those of the classes by their shares.
        smoothing: share of the probability that is spread over all classes, 0 to below 1.
        weights: how often an image of each class counts, `(K,)`; None: once.
    """
    answers = logits.float()
    if targets.is_floating_point():
        return _of_shares(answers, targets, smoothing, weights)
    wanted = targets.long()
    if weights is None:
        return functional.cross_entropy(answers, wanted, label_smoothing=smoothing)
    each = functional.cross_entropy(answers, wanted, label_smoothing=smoothing, reduction="none")
    return (weights[wanted] * each).mean()


def _of_shares(
    answers: Tensor, shares: Tensor, smoothing: float, weights: Tensor | None
) -> Tensor:
    if weights is None:
        return functional.cross_entropy(answers, shares, label_smoothing=smoothing)
    log_p = functional.log_softmax(answers, dim=1)
    counted = weights * shares
    right = (counted * log_p).sum(dim=1)
    spread = counted.sum(dim=1) * log_p.mean(dim=1)
    return -((1 - smoothing) * right + smoothing * spread).mean()


def mean_log_probs(logits: dict[str, Tensor], *, temperature: float = 1.0) -> Tensor:
    """Return the log of the networks' mean probability, float64, the classes along dimension 1.

    Args:
        logits: of each network.
        temperature: > 0; divides the logits.
    """
    each = torch.stack(
        [functional.log_softmax(z.double() / temperature, dim=1) for z in logits.values()]
    )
    return each[0] if len(each) == 1 else each.logsumexp(dim=0) - math.log(len(each))


def kl_divergence(logits: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Return KL(teacher || network), mean over images, or over all their cells.

    Args:
        logits: of one network.
        teacher: log-probabilities at the same temperature.
        temperature: > 0; divides the logits.
    """
    mine = functional.log_softmax(logits.float() / temperature, dim=1)
    theirs = teacher.to(mine.dtype)
    return (theirs.exp() * (theirs - mine)).sum(dim=1).mean()
