"""What a JPEG file of low quality leaves."""

import torch
from torch import Tensor

from npas.corruptions._chance import Chance
from npas.corruptions._corruption import Corruption
from npas.corruptions._dct import BLOCK, CHROMINANCE, LUMINANCE, quantised, steps
from npas.corruptions._luma import BLUE, RED, luma


def _filled(images: Tensor, dim: int, multiple: int) -> Tensor:
    """Return images whose last row (dim -2) or column (-1) is repeated up to a multiple."""
    size = images.shape[dim]
    places = torch.arange(-(-size // multiple) * multiple).clamp(max=size - 1)
    return images.index_select(dim, places)


def _halved(plane: Tensor) -> Tensor:
    """Return `(N, H, W)` as the means of 2 x 2."""
    rows = plane[:, ::2] + plane[:, 1::2]
    return ((rows[..., ::2] + rows[..., 1::2]) / 4).round()


def _doubled(plane: Tensor) -> Tensor:
    """Return `(N, H, W)` at twice the size: of each pixel three parts, and one of the next."""
    for dim in (1, 2):
        last = plane.shape[dim] - 1
        places = torch.arange(last + 1)
        pair = [
            plane * 0.75 + plane.index_select(dim, beside.clamp(0, last)) * 0.25
            for beside in (places - 1, places + 1)
        ]
        plane = torch.stack(pair, dim + 1).flatten(dim, dim + 1)
    return plane


def _colour(difference: Tensor, quality: int) -> Tensor:
    """Return how much redder or bluer than grey the pixels are, as read, `(N, S, S)` of bytes."""
    side = difference.shape[-1]
    values = (difference + 128).round().clamp(0, 255)
    # Columns are repeated before they are halved, rows after that: as libjpeg does it.
    halved = _halved(_filled(_filled(values, -1, 2 * BLOCK), -2, 2))
    read = quantised(_filled(halved, -2, BLOCK), steps(CHROMINANCE, quality))
    half = -(-side // 2)
    return _doubled(read[:, :half, :half])[:, :side, :side] - 128


def _apply(images: Tensor, quality: int, chance: Chance) -> Tensor:
    del chance
    side, full = images.shape[-1], images * 255
    bright = luma(full)[:, 0]
    whole = _filled(_filled(bright.round(), -1, BLOCK), -2, BLOCK)
    grey = quantised(whole, steps(LUMINANCE, quality))[:, :side, :side]
    if images.shape[1] == 1:
        return grey[:, None] / 255
    reds, blues = 2 - 2 * RED, 2 - 2 * BLUE
    red = _colour((full[:, 0] - bright) / reds, quality) * reds
    blue = _colour((full[:, 2] - bright) / blues, quality) * blues
    green = (RED * red + BLUE * blue) / (1 - RED - BLUE)
    return torch.stack([grey + red, grey - green, grey + blue], dim=1) / 255


CORRUPTION = Corruption(
    title="written at this quality, colours at half the size, and read again",
    constants=(80, 65, 58, 50, 40),
    apply=_apply,
)
