"""What one epoch of a training came to, and which was the best."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What one epoch did.

    Attributes:
        stage: "teacher", "race", "search" or "train".
        epoch: from 1.
        epochs: planned in this stage.
        step: optimiser steps done in this stage.
        train_loss: mean over images of what was minimised, see `npas.train.objective`.
        train_accuracy: 0 to 1, of augmented images, while the weights changed; the task's metric,
            of the networks that took part in each step. Of images that are mixed, an answer is
            right that names the class with the largest share.
        validation_accuracy: 0 to 1, likewise, after the epoch; None without a validation split.
        learning_rate: of the epoch's last step.
        seconds: that the epoch took, pauses left out.
    """

    stage: str
    epoch: int
    epochs: int
    step: int
    train_loss: float
    train_accuracy: float
    validation_accuracy: float | None
    learning_rate: float
    seconds: float

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """Return a row from its fields; those that a later release added are left out."""
        return cls(**{field.name: facts[field.name] for field in fields(cls)})


class EpochSums:
    """What an epoch has come to so far.

    Attributes:
        sums: float64 (4,): images, loss, and the two counts of the metric.
        seconds: of its steps.
    """

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(4, dtype=torch.float64, device=device)
        self.seconds = 0.0

    def add(self, images: int, loss: Tensor, hits: Tensor) -> None:
        """Add a step."""
        self.sums[0] += images
        self.sums[1] += loss * images
        self.sums[2:] += hits

    def means(self) -> tuple[float, float]:
        """Return the mean loss and the metric, and begin anew but for the seconds."""
        images, loss, hits, possible = self.sums.tolist()
        self.sums.zero_()
        return loss / images, hits / max(1.0, possible)


@dataclass(kw_only=True, slots=True)
class BestWeights:
    """The weights of the best epoch; 0 and none before there is one."""

    epoch: int = 0
    score: float = -math.inf
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    def offer(self, epoch: int, score: float, weights: Mapping[str, Tensor]) -> None:
        """Copy the weights of an epoch if none before was better; of equal ones the later wins.

        Args:
            epoch: from 1.
            score: the more, the better.
            weights: by name.
        """
        if score >= self.score:
            self.epoch, self.score = epoch, score
            self.tensors = {name: each.detach().clone() for name, each in weights.items()}
