"""The gradient of a batch, in parts where the whole is too much for the memory."""

import torch
from torch import Tensor, nn

from npas.train.objective import Objective


def accumulate(
    objective: Objective, model: nn.Module, images: Tensor, labels: Tensor, *, parts: int
) -> tuple[Tensor, Tensor]:
    """Add the gradient of a batch to that of the parameters.

    The loss is a mean over images, so that each part counts by its share of them, and what does
    not depend on images (a penalty) counts once in all. With one part it is the plain gradient.

    Args:
        objective: what is minimised.
        model: in training mode, without gradients.
        images: uint8 `(N, C, S, S)`, on the model's device.
        labels: int64 `(N,)`, or uint8 `(N, S, S)` for cells.
        parts: 1 to N, as equal as can be.

    Returns:
        the loss of the batch, detached, and the two counts of the task's metric.
    """
    losses, counts = [], []
    for some, wanted in zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True):
        loss, hits = objective(model, some, wanted)
        share = loss * (len(wanted) / len(labels))
        share.backward()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        losses.append(share.detach())
        counts.append(hits)
    return torch.stack(losses).sum(), torch.stack(counts).sum(dim=0)
