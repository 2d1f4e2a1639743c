"""What a JPEG file of low quality leaves."""

import torch
from torch import Tensor

from npas.corruptions._chance import Chance
from npas.corruptions._corruption import Corruption
from npas.corruptions._dct import CHROMINANCE, LUMINANCE, quantised, steps
from npas.corruptions._luma import BLUE, RED, luma


def _filled(images: Tensor, multiple: int) -> Tensor:
    """Return images whose last row and column are repeated up to a multiple of pixels."""
    side = images.shape[-1]
    places = torch.arange(-(-side // multiple) * multiple).clamp(max=side - 1)
    return images.index_select(-2, places).index_select(-1, places)


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
    """Return how much redder or bluer than grey the pixels are, `(N, H, W)` of bytes, as read."""
    written = _halved((difference + 128).round().clamp(0, 255))
    return _doubled(quantised(written, steps(CHROMINANCE, quality))) - 128


def _apply(images: Tensor, quality: int, chance: Chance) -> Tensor:
    del chance
    side, is_grey = images.shape[-1], images.shape[1] == 1
    full = _filled(images * 255, 8 if is_grey else 16)
    bright = luma(full)[:, 0]
    grey = quantised(bright.round(), steps(LUMINANCE, quality))
    if is_grey:
        return grey[:, None, :side, :side] / 255
    reds, blues = 2 - 2 * RED, 2 - 2 * BLUE
    red = _colour((full[:, 0] - bright) / reds, quality) * reds
    blue = _colour((full[:, 2] - bright) / blues, quality) * blues
    green = (RED * red + BLUE * blue) / (1 - RED - BLUE)
    colours = torch.stack([grey + red, grey - green, grey + blue], dim=1)
    return colours[..., :side, :side] / 255


CORRUPTION = Corruption(
    title="written at this quality, colours at half the size, and read again",
    constants=(80, 65, 58, 50, 40),
    apply=_apply,
)
