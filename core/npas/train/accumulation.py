"""The gradient of a batch, in parts where the whole is too much for the memory."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from npas.train.evaluate import Tensors

Minimised = Callable[[nn.Module, Tensors, Tensors, Sequence[str] | None], tuple[Tensor, Tensor]]
"""Such as `npas.train.objective.Objective`: of a model and a batch, the loss and the counts."""


def accumulate(
    objective: Minimised,
    model: nn.Module,
    images: Tensors,
    labels: Tensors,
    names: Sequence[str] | None = None,
    *,
    parts: int,
) -> tuple[Tensor, Tensor]:
    """Add the gradient of a batch to that of the parameters.

    The loss is a mean over images, so that each part counts by its share of them, and what does
    not depend on images (a penalty) counts once in all. With one part it is the plain gradient.

    Args:
        objective: what is minimised.
        model: in training mode, without gradients.
        images: uint8 `(N, C, S, S)`, on the model's device; or for each network its own N.
        labels: int64 `(N,)`, or uint8 `(N, S, S)` for cells; or likewise.
        names: networks that take part; None: all.
        parts: 1 to N, as equal as can be.

    Returns:
        the loss of the batch, detached, and the two counts of the task's metric.
    """
    losses, counts = [], []
    size = _size(labels)
    for some, wanted in zip(_cut(images, parts), _cut(labels, parts), strict=True):
        loss, hits = objective(model, some, wanted, names)
        share = loss * (_size(wanted) / size)
        share.backward()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        losses.append(share.detach())
        counts.append(hits)
    return torch.stack(losses).sum(), torch.stack(counts).sum(dim=0)


def _size(each: Tensors) -> int:
    """Return the images of a batch; of own batches, of each network's, all of one size."""
    return len(each) if isinstance(each, Tensor) else len(next(iter(each.values())))


def _cut(each: Tensors, parts: int) -> Sequence[Tensors]:
    """Return the parts of a batch; of own batches, those of all networks together."""
    if isinstance(each, Tensor):
        return each.tensor_split(parts)
    cut = {name: one.tensor_split(parts) for name, one in each.items()}
    return [{name: pieces[part] for name, pieces in cut.items()} for part in range(parts)]
