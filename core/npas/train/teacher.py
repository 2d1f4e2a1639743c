"""A teacher: a trained network whose answers another one learns beside the labels."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from npas.data import Inputs
from npas.spec.training import DistillationSpec
from npas.tasks import kl_divergence, mean_log_probs
from npas.train.evaluate import members


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """Answers for images; nothing in it changes.

    Attributes:
        model: has `members(x)`, or is a plain network; on the device, in evaluation mode.
        inputs: turns bytes into what this network reads, which need not be what its pupil reads.
    """

    model: nn.Module
    inputs: Inputs

    def log_probs(self, images: Tensor, *, temperature: float, precision: torch.dtype) -> Tensor:
        """Return the log of the networks' mean probability, float64, see `npas.tasks`.

        Args:
            images: uint8 `(N, C, S, S)`, as the pupil sees them.
            temperature: > 0; divides the logits.
            precision: float32, or bfloat16 for mixed precision.
        """
        mixed = torch.autocast(
            images.device.type, torch.bfloat16, enabled=precision == torch.bfloat16
        )
        with torch.no_grad():
            with mixed:
                logits = members(self.model, self.inputs(images))
            return mean_log_probs(logits, temperature=temperature)


def distilled(own: Tensor, logits: Tensor, answers: Tensor, spec: DistillationSpec) -> Tensor:
    """Return a network's loss of the labels mixed with that of what the teacher says.

    Args:
        own: loss of the labels, mean over images.
        logits: of the network.
        answers: log-probabilities of the teacher, at the spec's temperature.
        spec: temperature and weight.
    """
    apart = kl_divergence(logits, answers, temperature=spec.temperature)
    # Squared, so that the teacher's share of the gradient does not depend on the temperature.
    return (1 - spec.weight) * own + spec.weight * spec.temperature**2 * apart
