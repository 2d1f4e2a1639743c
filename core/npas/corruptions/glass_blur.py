"""Blur of frosted glass: pixels are seen where their neighbours were."""

import torch
from torch import Tensor

from npas.corruptions._chance import Chance
from npas.corruptions._corruption import Corruption, enlargement
from npas.corruptions._resampling import gaussian_taps, resampled


def _scattered(images: Tensor, moves: Tensor, reach: int) -> Tensor:
    """Return images whose pixels are read from elsewhere, but for a frame that stays.

    The paper lets pixels swap places; the released code, by the way numpy assigns, copies the
    neighbour, as this does.

    Args:
        images: float `(N, C, S, S)`.
        moves: `(N, 2, S, S)`, pixels down and right.
        reach: the most pixels that a move has.
    """
    places = torch.arange(images.shape[-1])
    is_inside = (places > reach) & (places <= len(places) - reach)
    moves = torch.where(is_inside[:, None] & is_inside, moves, 0)
    order = (places[:, None] + moves[:, 0]) * len(places) + places + moves[:, 1]
    spread = order.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, spread).view(images.shape)


def _apply(images: Tensor, constants: tuple[float, int, int], chance: Chance) -> Tensor:
    scale, side = enlargement(images), images.shape[-1]
    blur = gaussian_taps(side, constants[0] * scale, truncate=4)
    reach, rounds = round(constants[1] * scale), constants[2]
    moves = chance.integers(rounds, 2, side, side, low=-reach, end=reach)
    mixed = resampled(images, blur)
    for number in range(rounds):
        mixed = _scattered(mixed, moves[:, number], reach)
    return resampled(mixed, blur)


CORRUPTION = Corruption(
    title="a blur of this sigma, pixels read from up to this far off, this often, and a blur",
    constants=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    apply=_apply,
)
