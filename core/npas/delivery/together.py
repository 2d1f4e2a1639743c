"""Grades networks that answer together: every subset, early answers, corrupted images."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from npas import corruptions
from npas.arch.footprint import macs_of
from npas.data import Facts, Inputs
from npas.ensembles.calibration import binned
from npas.ensembles.choosing import chosen
from npas.ensembles.course import Climb
from npas.ensembles.envelope import envelope
from npas.ensembles.ladder import Ladder, by_cost
from npas.ensembles.latency import milliseconds
from npas.ensembles.predictions import Predictions, predictions
from npas.ensembles.robustness import corrupted
from npas.ensembles.scores import Scores, disagreement, score
from npas.ensembles.subsets import scored
from npas.errors import InvalidSpecError
from npas.plans import Plan
from npas.sharing.restriction import num_read
from npas.spec import Auto, TrainingSpec


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Examiner:
    """Asks the networks of one plan.

    Attributes:
        plan: of the networks.
        networks: plain, in evaluation mode, by name.
        inputs: what they read.
        device: where they are.
        images_at_once: for grading.
    """

    plan: Plan
    networks: Mapping[str, nn.Module]
    inputs: Inputs
    device: torch.device
    images_at_once: int

    @property
    def macs(self) -> dict[str, int]:
        """Return the multiply-adds of each network, for one image."""
        return macs_of(self.plan.networks)

    def ask(self, images: Tensor, labels: Tensor) -> Predictions:
        """Return what all networks say of labelled images."""
        return predictions(
            self.networks,
            images,
            labels,
            inputs=self.inputs,
            batch_size=self.images_at_once,
            device=self.device,
        )

    def ladder(self, images: Tensor, labels: Tensor) -> Ladder:
        """Return the ladder that held-out images choose; without any, that of rising cost."""
        return chosen(self.ask(images, labels), self.macs) if len(images) else by_cost(self.macs)

    def report(
        self, ladder: Ladder, images: Tensor, labels: Tensor, *, held_out: int, corrupt: int
    ) -> dict[str, Any]:
        """Return the fields of `npas.delivery.ensemble_report.EnsembleReport`.

        Args:
            ladder: from `ladder`.
            images: of the test set.
            labels: likewise.
            held_out: images that the ladder was chosen on.
            corrupt: of the test images, how many are graded corrupted too.
        """
        said = self.ask(images, labels)
        return {
            "images": len(images),
            "subsets": self._subsets(said, images[:1]),
            "disagreement": [[disagreement(said, a, b) for b in said.names] for a in said.names],
            "reliability": _reliabilities(said),
            "anytime": {
                "held_out_images": held_out,
                **early_answers(ladder, said, self.macs),
            },
            "robustness": self._robustness(images[:corrupt], labels[:corrupt])
            if corrupt
            else None,
        }

    def _subsets(self, said: Predictions, image: Tensor) -> list[dict[str, Any]]:
        x = self.inputs(image.to(self.device))
        taken = {name: milliseconds(network, x) for name, network in self.networks.items()}
        found = scored(said, self.macs)
        best = envelope([(each.macs, each.scores.accuracy) for each in found])
        return [
            {
                "networks": each.networks,
                **asdict(each.scores),
                "disagreement": each.disagreement,
                "diversity": None if each.diversity is None else round(each.diversity, 6),
                "parameters": num_read(self.plan, each.networks),
                "macs": each.macs,
                "milliseconds": round(sum(taken[name] for name in each.networks), 4),
                "is_on_envelope": place in best,
            }
            for place, each in enumerate(found)
        ]

    def _robustness(self, images: Tensor, labels: Tensor) -> dict[str, Any]:
        names = tuple(self.networks)
        together, alone = [], []
        for each in corrupted(
            self.networks,
            images,
            labels,
            inputs=self.inputs,
            batch_size=self.images_at_once,
            device=self.device,
        ):
            said = each.predictions
            scores = score(said.together(names), said.labels)
            place = {"corruption": each.corruption, "severity": each.severity}
            together.append({**place, **asdict(scores)})
            alone.append([score(said.log_p[name], said.labels) for name in names])
        return {
            "images": len(images),
            "together": _mean([Scores(**{k: row[k] for k in _SCORES}) for row in together]),
            "networks": [
                {"network": name, **_mean(of_one)}
                for name, of_one in zip(names, zip(*alone, strict=True), strict=True)
            ],
            "corruptions": together,
        }


_SCORES = ("accuracy", "nll", "ece")

MOST_CORRUPTED, LEAST_CORRUPTED = 1000, 20
"""Test images that are corrupted where the request names no number; fewer tell nothing."""

WAYS = len(corruptions.NAMES) * len(corruptions.SEVERITIES)
"""In which an image is corrupted."""


def num_corrupted(asked: int | Auto, training: TrainingSpec, facts: Facts) -> int:
    """Return how many test images several networks are graded on corrupted.

    Args:
        asked: of the request; "auto": as many as cost a tenth of the training, none of images
            that cannot be corrupted.
        training: of the request.
        facts: of its dataset.
    """
    if asked != "auto":
        return min(asked, facts.num_test)
    if why_not_corrupted(facts):
        return 0
    # A step computes three times what a look does.
    affordable = 3 * training.epochs * facts.num_train // (10 * WAYS)
    found = min(MOST_CORRUPTED, facts.num_test, affordable)
    return found if found >= LEAST_CORRUPTED else 0


def why_not_corrupted(facts: Facts) -> str:
    """Return in words why images of a dataset cannot be corrupted; "" where they can."""
    if facts.input_channels not in (1, 3):
        return f"images of {facts.input_channels} channels cannot be corrupted, of 1 or 3 they can"
    if facts.input_size < corruptions.LEAST_SIDE:
        least = corruptions.LEAST_SIDE
        return f"images of {facts.input_size} pixels cannot be corrupted, from {least} on they can"
    return ""


def check_corrupted(asked: int | Auto, networks: int, facts: Facts) -> None:
    """Check that images can be corrupted where a request says how many.

    Args:
        asked: of the request.
        networks: how many there are; a lone one is not graded so.
        facts: of the dataset.

    Raises:
        InvalidSpecError: they cannot.
    """
    if asked in ("auto", 0) or networks == 1 or facts.task != "classes":
        return
    if why := why_not_corrupted(facts):
        raise InvalidSpecError(
            f"corrupted_images is {asked}, but {why}: give 0, or leave it out",
            field="/corrupted_images",
        )


def early_answers(ladder: Ladder, said: Predictions, macs: Mapping[str, int]) -> dict[str, Any]:
    """Return what a ladder comes to: after each rung, and with stops at its threshold.

    Args:
        ladder: to go up.
        said: of labelled images that the ladder was not chosen on.
        macs: multiply-adds of each network, for one image.
    """
    climb = Climb(ladder, said, macs)
    reached, stop = climb.reached, None
    if ladder.threshold is not None:
        whole, early = reached[-1], climb.stopped(ladder.threshold)
        stop = {
            "macs": early.macs,
            **asdict(early.scores),
            "macs_saved": 1 - early.macs / whole.macs,
            "accuracy_change": early.scores.accuracy - whole.scores.accuracy,
            "images": early.images,
        }
    return {
        "ladder": ladder.model_dump(mode="json"),
        "reached": [{"macs": each.macs, **asdict(each.scores)} for each in reached],
        "stop": stop,
    }


def _reliabilities(said: Predictions) -> list[dict[str, Any]]:
    answers = {"": said.together(said.names), **said.log_p}
    return [_reliability(name, log_p, said.labels) for name, log_p in answers.items()]


def _reliability(name: str, log_p: Tensor, labels: Tensor) -> dict[str, Any]:
    best = log_p.double().max(dim=1)
    bins = binned(best.values.exp(), best.indices == labels)
    images, right = bins[0].long().tolist(), bins[1].long().tolist()
    sums = bins[2].tolist()
    means = [total / count if count else None for total, count in zip(sums, images, strict=True)]
    return {"network": name, "images": images, "right": right, "confidence": means}


def _mean(scores: Sequence[Scores]) -> dict[str, float]:
    return {name: sum(getattr(each, name) for each in scores) / len(scores) for name in _SCORES}
