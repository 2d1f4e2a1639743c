"""What going up a ladder comes to on labelled images: after each rung, and with stops."""

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from npas.ensembles.ladder import Ladder
from npas.ensembles.predictions import Predictions
from npas.ensembles.scores import Scores, score


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """What answers are worth at a cost.

    Attributes:
        macs: multiply-adds of the networks that were asked, mean over images.
        scores: of the answers.
    """

    macs: float
    scores: Scores


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopped(Reached):
    """Where each image stops by its own confidence.

    Attributes:
        images: how many stop after each rung.
    """

    images: tuple[int, ...]


class Climb:
    """One way up a ladder, on some labelled images; what the networks answer is put together once.

    Attributes:
        answers: log-probabilities `(N, classes)` after each rung, float64.
    """

    def __init__(self, ladder: Ladder, predictions: Predictions, macs: Mapping[str, int]) -> None:
        """Put the answers together.

        Args:
            ladder: to go up; its own threshold does not count.
            predictions: of the networks.
            macs: multiply-adds of each network, for one image.
        """
        self._macs = [macs[rung.network] for rung in ladder.rungs]
        self._labels = predictions.labels
        self.answers = [predictions.together(rung.answering) for rung in ladder.rungs]

    @functools.cached_property
    def confidences(self) -> list[Tensor]:
        """Probability of the most likely class `(N,)` after each rung."""
        return [log_p.max(dim=1).values.exp() for log_p in self.answers]

    @functools.cached_property
    def reached(self) -> tuple[Reached, ...]:
        """What is reached after each rung, by all images."""
        spent = itertools.accumulate(self._macs)
        return tuple(
            Reached(macs=float(macs), scores=score(log_p, self._labels))
            for macs, log_p in zip(spent, self.answers, strict=True)
        )

    def stopped(self, threshold: float) -> Stopped:
        """Return what is reached where an image stops as soon as its answer is so confident.

        Args:
            threshold: probability of the most likely class, from which on an image stops.
        """
        going = torch.ones(len(self._labels), dtype=torch.bool)
        answers = torch.empty_like(self.answers[0])
        spent, images = 0.0, []
        steps = zip(self._macs, self.answers, self.confidences, strict=True)
        for number, (macs, log_p, confidence) in enumerate(steps, 1):
            spent += macs * float(going.double().mean())
            is_sure = confidence >= threshold
            ends = going & (is_sure | (number == len(self.answers)))
            answers[ends] = log_p[ends]
            images.append(int(ends.sum()))
            going = going & ~ends
        return Stopped(macs=spent, scores=score(answers, self._labels), images=tuple(images))
