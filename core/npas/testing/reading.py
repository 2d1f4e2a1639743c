"""Which scalars of a group are read: what moves no weight is dead."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from npas.sharing.group import SharedGroup


def backward(parts: Iterable[Tensor]) -> None:
    """Run backward from the sum of all elements."""
    torch.autograd.backward(torch.stack([part.sum() for part in parts]).sum())


def num_unread(shared: SharedGroup) -> int:
    """Return how many scalars of a group move none of its weights: their gradient is zero.

    Args:
        shared: with random banks; the loss is random too, so that nothing cancels out.
    """
    generator = torch.Generator().manual_seed(1)
    shared.zero_grad()
    backward(
        weight * (0.1 + torch.rand(weight.shape, generator=generator).to(weight))
        for weight in shared()
    )
    return sum(p.numel() - _num_moving(p) for p in shared.parameters())


def _num_moving(parameter: nn.Parameter) -> int:
    return 0 if parameter.grad is None else int(parameter.grad.count_nonzero())
