"""What a training step minimises: the members' losses, and what methods add to them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from npas.data import Inputs
from npas.spec import TrainingSpec
from npas.tasks import loss, mean_log_probs, task_of
from npas.train.evaluate import Tensors, members
from npas.train.mutual import learned_from_others
from npas.train.teacher import Teacher, distilled

Penalty = Callable[[nn.Module], Tensor]
"""The model being trained -> a scalar, differentiable, that is added to its loss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """Scores a model on a batch.

    Attributes:
        spec: label_smoothing, distillation, and of its ensemble `mutual` count.
        inputs: turns bytes into the network's inputs.
        precision: float32, or bfloat16 for mixed precision.
        penalty: added to the loss; None adds nothing.
        teacher: whose answers are learned too, as the spec's distillation says; None: nobody's.
        class_weights: how often the label of an image of each class counts, see
            `npas.train.balance`; None: once. What the teacher says counts once.
    """

    spec: TrainingSpec
    inputs: Inputs
    precision: torch.dtype
    penalty: Penalty | None = None
    teacher: Teacher | None = None
    class_weights: Tensor | None = None

    def __call__(
        self,
        model: nn.Module,
        images: Tensors,
        labels: Tensors,
        names: Sequence[str] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the loss to minimise, and the two counts of the task's metric.

        Args:
            model: has `members(x)`, or is a plain network.
            images: uint8 `(N, C, S, S)`, or float of the same range, on the model's device; or
                for each of `names` its own.
            labels: int64 `(N,)`, shares of classes, float `(N, K)`, or uint8 `(N, S, S)` for
                cells; or for each its own.
            names: networks that take part; None: all.

        Returns:
            the sum of the losses of the networks that take part, each the mean over images and
            mixed with what the teacher says, and that with what the others say, plus the penalty;
            and the counts, float64 `(2,)`, see `npas.tasks.Task.hits`, of the mean probability of
            those networks; where each has images of its own, the sum of each network's counts.
        """
        logits = self._logits(model, images, names)
        answers = self._answers(images)
        own = {
            name: self._own(
                each, _of(labels, name), None if answers is None else _of(answers, name)
            )
            for name, each in logits.items()
        }
        total = next(iter(logits.values())).new_zeros((), dtype=torch.float32)
        for each in self._mixed(own, logits).values():
            total = total + each
        if self.penalty is not None:
            total = total + self.penalty(model)
        with torch.no_grad():
            return total, _hits(logits, labels)

    def _logits(
        self, model: nn.Module, images: Tensors, names: Sequence[str] | None
    ) -> dict[str, Tensor]:
        inputs = _mapped(self.inputs, images)
        where = (inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))).device
        mixed = self.precision == torch.bfloat16
        with torch.autocast(where.type, torch.bfloat16, enabled=mixed):
            return members(model, inputs, names)

    def _answers(self, images: Tensors) -> Tensors | None:
        """Return the teacher's outputs for a batch, None without a teacher."""
        spec, teacher = self.spec.distillation, self.teacher
        if spec is None or teacher is None:
            return None
        temperature, precision = spec.temperature, self.precision
        return _mapped(
            lambda x: teacher.log_probs(x, temperature=temperature, precision=precision), images
        )

    def _own(self, logits: Tensor, labels: Tensor, answers: Tensor | None) -> Tensor:
        """Return one network's loss of the labels and, where there is one, of the teacher."""
        own = loss(logits, labels, smoothing=self.spec.label_smoothing, weights=self.class_weights)
        spec = self.spec.distillation
        if spec is None or answers is None:
            return own
        return distilled(own, logits, answers, spec)

    def _mixed(self, own: dict[str, Tensor], logits: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the networks' losses mixed with what the others say, if they are to hear it."""
        spec = self.spec.ensemble
        if not spec.mutual or len(own) == 1:
            return own
        heard = learned_from_others(logits, temperature=spec.mutual_temperature)
        return {name: (1 - spec.mutual) * own[name] + spec.mutual * heard[name] for name in own}


def _mapped(function: Callable[[Tensor], Tensor], each: Tensors) -> Tensors:
    """Return a function of the tensor that is for all networks, or of each network's."""
    if isinstance(each, Tensor):
        return function(each)
    return {name: function(one) for name, one in each.items()}


def _of(each: Tensors, name: str) -> Tensor:
    """Return the tensor of one network."""
    return each if isinstance(each, Tensor) else each[name]


def _hits(logits: dict[str, Tensor], labels: Tensors) -> Tensor:
    """Return the counts of the networks' mean, or, of own batches, the sum of their counts."""
    if isinstance(labels, Tensor):
        return task_of(labels).hits(mean_log_probs(logits), labels)
    counts = [
        task_of(labels[name]).hits(mean_log_probs({name: each}), labels[name])
        for name, each in logits.items()
    ]
    return torch.stack(counts).sum(dim=0)
