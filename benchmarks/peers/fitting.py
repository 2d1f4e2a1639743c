"""The widest network of a kind that a budget pays for."""

from collections.abc import Callable

import torch
from torch import nn

_STEPS = 1000
"""Scales are tried in steps of a thousandth."""


def num_parameters(model: nn.Module) -> int:
    """Return how many trainable parameters a model has."""
    return sum(each.numel() for each in model.parameters() if each.requires_grad)


def largest_scale(build: Callable[[float], nn.Module], budget: int) -> float:
    """Return the largest scale, up to 8, whose network has at most so many parameters.

    Args:
        build: makes the network of a scale; more scale, never fewer parameters.
        budget: trainable parameters.

    Raises:
        ValueError: the smallest network has more.
    """

    def fits(step: int) -> bool:
        with torch.device("meta"):
            return num_parameters(build(step / _STEPS)) <= budget

    low, high = 1, 8 * _STEPS
    if not fits(low):
        raise ValueError(f"no such network has {budget} parameters or fewer")
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low / _STEPS
