"""Blur of a lens out of focus."""

import math

import torch
from torch import Tensor

from npas.corruptions._chance import Chance
from npas.corruptions._corruption import Corruption, enlargement
from npas.corruptions._resampling import gaussian_weights, mirrored


def _kernel(radius: float, sigma: float, reach: int) -> Tensor:
    """Return a disk whose edge is softened by a Gaussian, `(K, K)`, that sums to 1."""
    size = math.floor(radius) + reach
    places = torch.arange(-size, size + 1)
    disk = (places[:, None] ** 2 + places**2 <= radius**2).double()
    soft = gaussian_weights(sigma, reach).double()
    spread = torch.nn.functional.conv2d(
        disk[None, None], (soft[:, None] * soft)[None, None], padding=reach
    )[0, 0]
    return (spread / spread.sum()).float()


def _apply(images: Tensor, constants: tuple[float, float], chance: Chance) -> Tensor:
    del chance
    scale, side = enlargement(images), images.shape[-1]
    kernel = _kernel(constants[0] * scale, constants[1] * scale, math.ceil(scale))
    size = len(kernel) // 2
    inside = mirrored(torch.arange(-size, side + size), side)
    wide = images.index_select(-2, inside).index_select(-1, inside)
    total = torch.zeros_like(images)
    for down, right in kernel.nonzero().tolist():
        total += wide[..., down : down + side, right : right + side] * kernel[down, right]
    return total


CORRUPTION = Corruption(
    title="every point becomes a disk of this radius, its edge softened by this sigma",
    constants=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),
    apply=_apply,
)
