"""Images whose rows and columns are weighted sums of others: blurs, zooms, blocks.

Sums are made tap by tap, never by a product of matrices: so an image's bits do not depend on the
size of its batch.
"""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Taps:
    """For each of n rows to make, the T rows that it is the sum of.

    Attributes:
        index: int64 `(T, n)`.
        weights: float `(T, n)`; the T of one row sum to 1.
    """

    index: Tensor
    weights: Tensor


def resampled(images: Tensor, taps: Taps) -> Tensor:
    """Return images with the taps used on their rows, then on their columns.

    Args:
        images: float `(..., S, S)`.
        taps: for rows of an image of side S.
    """
    rows = _summed(images, taps.index, taps.weights[..., None], -2)
    return _summed(rows, taps.index, taps.weights, -1)


def _summed(images: Tensor, index: Tensor, weights: Tensor, dim: int) -> Tensor:
    total = images.index_select(dim, index[0]) * weights[0]
    for tap in range(1, len(index)):
        total += images.index_select(dim, index[tap]) * weights[tap]
    return total


def mirrored(index: Tensor, side: int) -> Tensor:
    """Return indices brought into an image, as if a mirror stood at its edge.

    A symmetric blur then keeps the mean of an image.
    """
    folded = index % (2 * side)
    return torch.minimum(folded, 2 * side - 1 - folded)


def gaussian_weights(sigma: float, radius: int) -> Tensor:
    """Return `(2 * radius + 1,)` weights that sum to 1."""
    places = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (places / sigma) ** 2)
    return (weights / weights.sum()).float()


def gaussian_taps(side: int, sigma: float, *, truncate: float) -> Taps:
    """Return a blur.

    Args:
        side: of the image, pixels.
        sigma: pixels; > 0.
        truncate: the kernel ends at so many sigmas.
    """
    radius = int(truncate * sigma + 0.5)
    weights = gaussian_weights(sigma, radius)
    places = torch.arange(-radius, radius + 1)[:, None] + torch.arange(side)
    return Taps(index=mirrored(places, side), weights=weights[:, None].expand(-1, side))


def zoom_taps(side: int, factor: float) -> Taps:
    """Return an enlargement of the middle, by a factor of at least 1, read between pixels."""
    middle = (side - 1) / 2
    places = middle + (torch.arange(side, dtype=torch.float64) - middle) / factor
    below = places.floor().clamp(0, side - 1)
    share = (places - below).float()
    index = torch.stack([below, (below + 1).clamp(max=side - 1)]).long()
    return Taps(index=index, weights=torch.stack([1 - share, share]))


def block_taps(side: int, blocks: int) -> Taps:
    """Return a reduction to fewer pixels that are spread out again: each the mean of a few.

    As Pillow's BOX filter: a pixel belongs to the block that its middle lies in.
    """
    edges = [math.floor(block * side / blocks + 0.5) for block in range(blocks + 1)]
    most = max(end - start for start, end in itertools.pairwise(edges))
    index = torch.zeros(most, side, dtype=torch.int64)
    weights = torch.zeros(most, side)
    for place in range(side):
        block = int((place + 0.5) * blocks / side)
        start, end = edges[block : block + 2]
        index[: end - start, place] = torch.arange(start, end)
        weights[: end - start, place] = 1 / (end - start)
    return Taps(index=index, weights=weights)
