"""Whether a training's numbers are still numbers."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Finiteness:
    """Tells which tensors of a model became infinite or NaN since its training began.

    Buffers that were so from the start, as masks of -inf are, are in order.
    """

    def __init__(self, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
        """Note the buffers that are in order.

        Args:
            model: before its training.
            weights: its parameters and buffers by name, as `spoiled` will get them.
        """
        buffers = {name for name, _ in model.named_buffers(remove_duplicate=False)}
        self._in_order = buffers.intersection(not_finite(weights))

    def spoiled(self, weights: Mapping[str, Tensor]) -> list[str]:
        """Return the names of those that are not finite, but should be."""
        return [name for name in not_finite(weights) if name not in self._in_order]


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors of floating point that hold an infinity or NaN."""
    floating = {name: each for name, each in tensors.items() if each.is_floating_point()}
    if not floating:
        return []
    device = next(iter(floating.values())).device
    found = torch.stack([each.isfinite().all().to(device) for each in floating.values()])
    return [name for name, good in zip(floating, found.tolist(), strict=True) if not good]
