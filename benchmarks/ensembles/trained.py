"""What a trained arm can be asked, and what it costs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from npas.arch.footprint import Counting
from npas.data import Inputs
from npas.ensembles.predictions import Predictions, predictions
from npas.train.evaluate import members
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.ensembles.images import Labelled

Ask = Callable[[Labelled], Predictions]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """All members of an arm, trained.

    Attributes:
        ask: labelled images -> what every member says of them.
        answer: the members whose mean is the arm's answer.
        macs: multiply-adds of each member for one image.
        cost: of several: the sum, or that of the most expensive, which contains the others.
        parameters: trainable, of all members together.
        train_macs: multiply-adds of the training: three forward passes a step, for forward and
            backward, and what composes the weights once a step.
        seconds: of a processor, that the training took, a search too; grading is left out.
        rows: of all epochs, as plain JSON.
    """

    ask: Ask
    answer: tuple[str, ...]
    macs: Mapping[str, int]
    cost: Literal["sum", "most"]
    parameters: int
    train_macs: int
    seconds: float
    rows: Sequence[dict[str, Any]]

    def macs_of(self, names: Sequence[str]) -> int:
        """Return the multiply-adds of several members' answer to one image."""
        each = [self.macs[name] for name in names]
        return sum(each) if self.cost == "sum" else max(each)


def counted(model: nn.Module, image: Tensor) -> tuple[int, int]:
    """Return the multiply-adds of all members' forward pass for one image, and those once a step.

    Args:
        model: on the CPU.
        image: one input, float `(1, C, S, S)`.
    """
    found = []
    for batch in (image, torch.cat([image, image])):
        model.eval()  # a shared network composes its weights anew
        with torch.no_grad(), Counting() as counting:
            members(model, batch)
        found.append(counting.macs)
    one, two = found
    return two - one, 2 * one - two


def train_macs(model: nn.Module, image: Tensor, *, images: int, steps: int) -> int:
    """Return the multiply-adds of a training.

    Args:
        model: as for `counted`.
        image: likewise.
        images: seen in all epochs.
        steps: of the optimiser.
    """
    each, once = counted(model, image)
    return 3 * (each * images + once * steps)


def asked_apart(networks: Mapping[str, nn.Module], *, inputs: Inputs, device: torch.device) -> Ask:
    """Return how to ask networks of which each is a module of its own."""
    placed = {name: network.to(device) for name, network in networks.items()}

    def ask(about: Labelled) -> Predictions:
        return predictions(placed, about.images, about.labels, inputs=inputs, device=device)

    return ask


def asked_together(
    model: nn.Module, *, inputs: Inputs, device: torch.device, batch_size: int = 500
) -> Ask:
    """Return how to ask a module that answers for all its members at once."""
    model.to(device)

    def ask(about: Labelled) -> Predictions:
        said: dict[str, list[Tensor]] = {}
        model.eval()
        with torch.inference_mode():
            for part in torch.split(about.images, batch_size):
                for name, logits in members(model, inputs(part.to(device))).items():
                    answer = functional.log_softmax(logits.double(), dim=1)
                    said.setdefault(name, []).append(answer.float().cpu())
        log_p = {name: torch.cat(parts) for name, parts in said.items()}
        return Predictions(log_p=log_p, labels=about.labels)

    return ask
