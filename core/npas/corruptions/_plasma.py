"""Clouds: a fractal surface, by the diamond-square algorithm."""

from torch import Tensor

from npas.corruptions._chance import Chance


def plasma(side: int, decay: float, chance: Chance) -> Tensor:
    """Return one surface per image, `(N, 1, S, S)`, from 0 to 1.

    Each height is the mean of four around it and a draw, which is smaller from step to step; the
    surface goes on at the other side. Source: the released code; its draws are smaller by the
    square of its "wibbledecay".

    Args:
        side: pixels.
        decay: > 1; the larger, the smoother.
        chance: of the images.
    """
    size = 1 << (side - 1).bit_length()
    heights = chance.uniform(size, size, low=-1, high=1)
    heights[:, 0, 0] = 0
    step, amplitude = size, 1.0
    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        middles = heights[:, half::step, half::step]
        tops, lefts = heights[:, ::step, half::step], heights[:, half::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        middles.mul_(amplitude).add_((pairs + pairs.roll(-1, 2)) / 4)
        across = corners + corners.roll(-1, 2) + middles + middles.roll(1, 1)
        tops.mul_(amplitude).add_(across / 4)
        along = corners + corners.roll(-1, 1) + middles + middles.roll(1, 2)
        lefts.mul_(amplitude).add_(along / 4)
        step, amplitude = half, amplitude / decay**2
    heights = heights[:, None] - heights.amin((1, 2))[:, None, None, None]
    return (heights / heights.amax((1, 2, 3), keepdim=True))[..., :side, :side]
