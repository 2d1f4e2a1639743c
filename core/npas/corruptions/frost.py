"""Ice on the window."""

import torch
from torch import Tensor

from npas.corruptions._chance import Chance
from npas.corruptions._corruption import Corruption, enlargement
from npas.corruptions._motion import streaked
from npas.corruptions._plasma import plasma

TINT = (0.86, 0.94, 1.0)
"""Of ice: red, green, blue."""

NEEDLES = 0.015
"""Of each direction: how many begin at a pixel of the paper's images."""


def _ice(images: Tensor, chance: Chance) -> Tensor:
    """Return clouds of rime and needles in three directions, `(N, 1, S, S)`."""
    scale, side = enlargement(images), images.shape[-1]
    rime = plasma(side, 2.0, chance)
    turns = chance.uniform(1, low=0, high=120).flatten()
    seeds = (chance.uniform(3, 1, side, side) > 1 - NEEDLES / scale**2).float()
    grown = [
        streaked(seeds[:, way], turns + 120 * way, radius=9 * scale, sigma=4 * scale)
        for way in range(3)
    ]
    needles = torch.stack(grown).amax(0) * (4 * scale)
    return (rime + needles * (0.2 + 0.6 * rime)).clamp(max=1)


def _apply(images: Tensor, constants: tuple[float, float], chance: Chance) -> Tensor:
    kept, share = constants
    tint = torch.tensor(TINT if images.shape[1] == 3 else (1.0,))
    return images * kept + _ice(images, chance) * tint[:, None, None] * share


CORRUPTION = Corruption(
    title="this share of the image, and this share of an image of ice, which is drawn",
    constants=((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    apply=_apply,
)
