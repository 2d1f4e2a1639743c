"""How good a network is: accuracy, and how far its probabilities can be believed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from npas.data import Inputs
from npas.ensembles.calibration import BINS, binned, calibration_error
from npas.errors import NonFiniteLossError
from npas.tasks import Metric, Task, mean_log_probs, task_of
from npas.train.adjustments import IMAGES_AT_ONCE

Tensors = Tensor | Mapping[str, Tensor]
"""One tensor for all networks, or one for each by its name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What a network scored.

    Where the answer is for each cell, nll and ece are over cells.

    Attributes:
        metric: of the score, which depends on the task.
        score: accuracy, the share of images whose most likely class is right; or F1 of the cells
            that are yes; 0 to 1.
        top5: share whose right class is among the five most likely, 0 to 1; None for cells.
        precision: of the cells said yes, the share that is; None for classes.
        recall: of the cells that are yes, the share said so; None for classes.
        nll: negative log likelihood of the right class, nats, mean over images.
        ece: expected calibration error, 0 to 1, over 15 equal-width bins of confidence.
        images: how many were looked at.
        said: the most likely class of each image, int64 `(N,)`, on the CPU; None for cells.
        losses: negative log likelihood of each image, float32 `(N,)`, nats, on the CPU; of cells,
            the mean over those of an image.
    """

    metric: Metric
    score: float
    top5: float | None = None
    precision: float | None = None
    recall: float | None = None
    nll: float
    ece: float
    images: int
    said: Tensor | None = field(default=None, compare=False, repr=False)
    losses: Tensor | None = field(default=None, compare=False, repr=False)


def network_names(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the networks that are trained; a plain module is one, "main".

    They are a model's `active`, else its `network_names`, in their order.
    """
    active: Any = getattr(model, "active", None)
    named: Any = getattr(model, "network_names", ("main",))
    return active if isinstance(active, tuple) and active else tuple(named)


def members(
    model: nn.Module,
    inputs: Tensors,
    names: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Return networks' logits `(N, classes)` by name; a plain module is one network, "main".

    Args:
        model: anything with a `members` method, or any classifier.
        inputs: float `(N, C, S, S)`; or one for each of `names`.
        names: the networks to run, which the model's `members` then takes, too; None: all.
    """
    method: Any = getattr(model, "members", None)
    if not callable(method):
        return {"main": model(inputs if isinstance(inputs, Tensor) else inputs["main"])}
    logits: dict[str, Tensor] = method(inputs) if names is None else method(inputs, names)
    return logits


def evaluate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    inputs: Inputs,
    batch_size: int = IMAGES_AT_ONCE,
    device: torch.device | str = "cpu",
    precision: torch.dtype = torch.float32,
) -> Evaluation:
    """Score a network, or the mean of several networks' probabilities.

    The model is evaluated in eval mode and left in the mode it was in.

    Args:
        model: as for `members`, already on the device.
        images: uint8 `(N, C, S, S)`.
        labels: int64 `(N,)`, or uint8 `(N, S, S)` for cells.
        inputs: turns images into what the network reads.
        batch_size: images at a time.
        device: where the model is.
        precision: float32, or bfloat16 for mixed precision.

    Raises:
        NonFiniteLossError: answers are not numbers, so that no score of them means anything.
    """
    device = torch.device(device)
    was_training = model.training
    model.eval()
    tally = _Tally(task_of(labels), device)
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=precision == torch.bfloat16)
    with torch.inference_mode(), mixed:
        for start in range(0, len(images), batch_size):
            x = inputs(images[start : start + batch_size].to(device))
            y = labels[start : start + batch_size].to(device)
            tally.add(members(model, x), y)
    model.train(was_training)
    result = tally.result()
    if not math.isfinite(result.nll):
        raise NonFiniteLossError(
            "the network's answers are not numbers: weights or statistics have become infinite or "
            "NaN; lower learning_rate or add warmup_epochs",
            field="/training/learning_rate",
        )
    return result


class _Tally:
    """Sums on the device, so that a GPU is asked once, at the end."""

    def __init__(self, task: Task, device: torch.device) -> None:
        self.task, self.images = task, 0
        # Answers (images or cells), top1, top5, nll.
        self.sums = torch.zeros(4, dtype=torch.float64, device=device)
        self.yes = torch.zeros(3, dtype=torch.float64, device=device)  # said, is, both
        self.bins = torch.zeros(3, BINS, dtype=torch.float64, device=device)
        self.said: list[Tensor] = []
        self.losses: list[Tensor] = []

    def add(self, logits: dict[str, Tensor], targets: Tensor) -> None:
        self.images += len(targets)
        log_p = mean_log_probs(logits)
        # One row for each answer, whether there is one for an image or one for each cell.
        nll = self._add(log_p.movedim(1, -1).flatten(0, -2), targets.reshape(-1).long())
        self.losses.append(nll.reshape(len(targets), -1).mean(dim=1, dtype=torch.float32))

    def _add(self, log_p: Tensor, labels: Tensor) -> Tensor:
        """Count answers, and return the loss of each, `(answers, 1)`."""
        best = log_p.topk(min(5, log_p.shape[1]), dim=1)
        hits = best.indices == labels[:, None]
        confidence = best.values[:, 0].exp()
        nll = -log_p.gather(1, labels[:, None])
        if self.task.name == "classes":
            self.said.append(best.indices[:, 0])
        self.sums[0] += len(labels)
        self.sums[1] += hits[:, 0].sum()
        self.sums[2] += hits.sum()
        self.sums[3] += nll.sum()
        said, wanted = best.indices[:, 0] == 1, labels == 1
        self.yes += torch.stack([said.sum(), wanted.sum(), (said & wanted).sum()])
        self.bins += binned(confidence, hits[:, 0])
        return nll

    def result(self) -> Evaluation:
        answers, top1, top5, nll = self.sums.tolist()
        said, wanted, both = self.yes.tolist()
        is_f1 = self.task.metric == "f1"
        return Evaluation(
            metric=self.task.metric,
            score=2 * both / max(1.0, said + wanted) if is_f1 else top1 / answers,
            top5=None if is_f1 else top5 / answers,
            precision=both / max(1.0, said) if is_f1 else None,
            recall=both / max(1.0, wanted) if is_f1 else None,
            nll=nll / answers,
            ece=calibration_error(self.bins),
            images=self.images,
            said=torch.cat(self.said).cpu() if self.said else None,
            losses=torch.cat(self.losses).cpu() if self.losses else None,
        )
