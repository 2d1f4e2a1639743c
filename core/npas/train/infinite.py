"""Buffers that hold infinities from the beginning, such as a mask of attention: no divergence."""

from torch import nn


def infinite_buffers(model: nn.Module) -> frozenset[str]:
    """Return the names of a model's buffers that hold an infinity, and no NaN.

    Args:
        model: before its training.
    """
    floating = [(n, b) for n, b in model.named_buffers() if b.is_floating_point()]
    return frozenset(n for n, b in floating if bool(b.isinf().any()) and not bool(b.isnan().any()))
