"""Blur of a camera that is moved."""

from torch import Tensor

from npas.corruptions._chance import Chance
from npas.corruptions._corruption import Corruption, enlargement
from npas.corruptions._motion import streaked


def _apply(images: Tensor, constants: tuple[float, float], chance: Chance) -> Tensor:
    radius, sigma = (length * enlargement(images) for length in constants)
    angles = chance.uniform(1, low=-45, high=45).flatten()
    return streaked(images, angles, radius=radius, sigma=sigma)


CORRUPTION = Corruption(
    title="streaks of this radius and sigma, up to 45 degrees off the horizontal",
    constants=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    apply=_apply,
)
