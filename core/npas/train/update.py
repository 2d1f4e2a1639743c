"""One step of an optimiser: whatever is trained, it is done here."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from npas.train.accumulation import Minimised, accumulate
from npas.train.evaluate import Tensors
from npas.train.optimizer import set_rate, take_step
from npas.train.rounding import Rounding
from npas.train.rounding import step as rounded_step


def update(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    objective: Minimised,
    batch: tuple[Tensors, Tensors],
    names: Sequence[str] | None = None,
    *,
    epoch: int,
    rate: float,
    parts: int,
    rounding: Rounding | None,
    clip_norm: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Move a model's parameters by one step.

    Args:
        model: is in training mode afterwards.
        optimizer: over its parameters.
        objective: what is minimised.
        batch: inputs and labels, as the objective takes them, on the model's device.
        names: networks that take part; None: all.
        epoch: of the step, from 1.
        rate: the learning rate.
        parts: of the batch, see `npas.train.accumulation`.
        rounding: of the weights that the passes see; None: there is none.
        clip_norm: length, at most, of the gradient of all parameters together, each counted once
            wherever it is read; None: it stays as it is. What rounding notes of gradients, it
            notes of those before.

    Returns:
        the loss of the batch, detached, and the two counts of the metric.
    """
    set_rate(optimizer, rate)
    model.train()
    optimizer.zero_grad(set_to_none=True)
    with rounded_step(rounding, model, epoch):
        found = accumulate(objective, model, *batch, names, parts=parts)
    if clip_norm is not None:
        clip_grad_norm_(model.parameters(), clip_norm)
    take_step(optimizer, model, some_sit_out=names is not None)
    return found
