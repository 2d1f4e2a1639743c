"""What a training step minimises: the members' losses, and what methods add to them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from npas.data import Inputs
from npas.spec import TrainingSpec
from npas.tasks import kl_divergence, loss, mean_log_probs, task_of
from npas.train.evaluate import members
from npas.train.teacher import Teacher

Penalty = Callable[[nn.Module], Tensor]
"""The model being trained -> a scalar, differentiable, that is added to its loss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """Scores a model on a batch.

    Attributes:
        spec: label_smoothing and distillation count.
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

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss to minimise, and the two counts of the task's metric.

        Args:
            model: has `members(x)`, or is a plain network.
            images: uint8 `(N, C, S, S)`, on the model's device.
            labels: int64 `(N,)`, or uint8 `(N, S, S)` for cells.

        Returns:
            the sum of the members' losses, each the mean over images and mixed with what the
            teacher says, plus the penalty; and the counts, float64 `(2,)`, see
            `npas.tasks.Task.hits`, of the members' mean probability.
        """
        task, inputs = task_of(labels), self.inputs(images)
        mixed = self.precision == torch.bfloat16
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=mixed):
            logits = members(model, inputs)
        answers = self._answers(images)
        total = inputs.new_zeros(())
        for each in logits.values():
            own = loss(
                each,
                labels,
                smoothing=self.spec.label_smoothing,
                weights=self.class_weights,
            )
            total = total + (own if answers is None else self._taught(own, each, answers))
        if self.penalty is not None:
            total = total + self.penalty(model)
        with torch.no_grad():
            hits = task.hits(mean_log_probs(logits), labels)
        return total, hits

    def _answers(self, images: Tensor) -> Tensor | None:
        """Return the teacher's outputs for a batch, None without a teacher."""
        spec = self.spec.distillation
        if spec is None or self.teacher is None:
            return None
        return self.teacher.log_probs(
            images, temperature=spec.temperature, precision=self.precision
        )

    def _taught(self, own: Tensor, logits: Tensor, answers: Tensor) -> Tensor:
        """Return the loss of the labels and of the teacher together."""
        spec = self.spec.distillation
        assert spec is not None
        apart = kl_divergence(logits, answers, temperature=spec.temperature)
        # Squared, so that the teacher's share of the gradient does not depend on the temperature.
        return (1 - spec.weight) * own + spec.weight * spec.temperature**2 * apart
