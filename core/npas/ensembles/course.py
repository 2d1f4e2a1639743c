"""What going up a ladder comes to on labelled images: after each rung, and with stops."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

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


def course(
    ladder: Ladder, predictions: Predictions, macs: Mapping[str, int]
) -> tuple[Reached, ...]:
    """Return what is reached after each rung, by all images.

    Args:
        ladder: to go up.
        predictions: of the networks.
        macs: multiply-adds of each network, for one image.
    """
    spent, found = 0, []
    for rung in ladder.rungs:
        spent += macs[rung.network]
        scores = score(predictions.together(rung.answering), predictions.labels)
        found.append(Reached(macs=float(spent), scores=scores))
    return tuple(found)


def stopped(
    ladder: Ladder, predictions: Predictions, macs: Mapping[str, int], *, threshold: float
) -> Stopped:
    """Return what is reached where an image stops as soon as its answer is so confident.

    Args:
        ladder: to go up; its own threshold does not count.
        predictions: of the networks.
        macs: multiply-adds of each network, for one image.
        threshold: probability of the most likely class, from which on an image stops.
    """
    going = torch.ones(len(predictions.labels), dtype=torch.bool)
    answers = torch.empty_like(predictions.together(ladder.networks[:1]))
    spent, images = 0.0, []
    for number, rung in enumerate(ladder.rungs, 1):
        spent += macs[rung.network] * float(going.double().mean())
        log_p = predictions.together(rung.answering)
        is_sure = log_p.max(dim=1).values.exp() >= threshold
        ends = going & (is_sure | (number == len(ladder.rungs)))
        answers[ends] = log_p[ends]
        images.append(int(ends.sum()))
        going = going & ~ends
    return Stopped(macs=spent, scores=score(answers, predictions.labels), images=tuple(images))
