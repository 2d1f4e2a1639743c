"""Streaks, as of what moves while it is looked at."""

import math

import torch
from torch import Tensor

TOO_LITTLE = 2.0**-12
"""Weights below are left out: they move no byte."""


def streak_weights(radius: float, sigma: float) -> Tensor:
    """Return the weights of the pixels along a streak, which sum to 1: half of a bell.

    Args:
        radius: pixels; a streak is of at most twice as many, and its start.
        sigma: pixels.
    """
    steps = torch.arange(2 * math.ceil(radius) + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (steps / sigma) ** 2)
    kept = weights[weights > TOO_LITTLE]
    return (kept / kept.sum()).float()


def streaked(images: Tensor, angles: Tensor, *, radius: float, sigma: float) -> Tensor:
    """Return images blurred to one side along a line; the edge goes on beyond the image.

    Args:
        images: float `(N, C, S, S)`.
        angles: `(N,)`, degrees: pixels are read to the right at 0, below at 90.
        radius: see `streak_weights`.
        sigma: likewise.
    """
    channels, side = images.shape[1:3]
    radians = [math.radians(angle) for angle in angles.tolist()]
    down = torch.tensor([math.sin(angle) for angle in radians], dtype=torch.float64)[:, None]
    right = torch.tensor([math.cos(angle) for angle in radians], dtype=torch.float64)[:, None]
    flat, places = images.flatten(2), torch.arange(side)
    total = torch.zeros_like(flat)
    for step, weight in enumerate(streak_weights(radius, sigma)):
        rows, columns = (
            (places + (step * part - 0.5).ceil().long()).clamp(0, side - 1)
            for part in (down, right)
        )
        index = (rows[:, :, None] * side + columns[:, None, :]).flatten(1)
        total += flat.gather(2, index[:, None].expand(-1, channels, -1)) * weight
    return total.view(images.shape)
