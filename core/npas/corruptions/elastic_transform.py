"""A soft thing that is stretched and dented."""

import torch
from torch import Tensor
from torch.nn import functional

from npas.corruptions._chance import Chance
from npas.corruptions._corruption import Corruption
from npas.corruptions._resampling import gaussian_taps, resampled


def _read(images: Tensor, moves: Tensor) -> Tensor:
    """Return images read between pixels, each pixel from elsewhere; beyond the edge, mirrored.

    Args:
        images: float `(N, C, S, S)`.
        moves: `(N, 2, S, S)`, pixels to the right and down.
    """
    side = images.shape[-1]
    places = torch.arange(side, dtype=images.dtype)
    columns, rows = (places + moves[:, 0]), (places[:, None] + moves[:, 1])
    grid = torch.stack([columns, rows], dim=-1) * (2 / (side - 1)) - 1
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=True)


def _stretch(side: int, most: float, chance: Chance) -> Tensor:
    """Return moves `(N, 2, S, S)` of the affine map that moves three points at random."""
    drawn = chance.uniform(3, 2, low=-most, high=most)
    reach = side // 3
    ways = torch.arange(side, dtype=drawn.dtype) - side // 2
    corner, lower, left = drawn[:, 1], drawn[:, 0], drawn[:, 2]
    down = (lower - corner)[..., None, None] / (2 * reach)
    right = (corner - left)[..., None, None] / (2 * reach)
    moved = right * (ways - reach) + down * (ways[:, None] + reach)
    return moved + corner[..., None, None]


def _apply(images: Tensor, constants: tuple[float, float, float], chance: Chance) -> Tensor:
    side = images.shape[-1]
    height, sigma, most = (share * side for share in constants)
    stretched = _read(images, _stretch(side, most, chance))
    if not height:
        return stretched
    drawn = chance.uniform(2, side, side, low=-1, high=1)
    return _read(stretched, resampled(drawn, gaussian_taps(side, sigma, truncate=3)) * height)


CORRUPTION = Corruption(
    title="dents of this height and sigma, a stretch of this length; all in sides of the image",
    constants=(
        (0, 0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    ),
    apply=_apply,
)
