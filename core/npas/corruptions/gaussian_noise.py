"""Noise of low light."""

from torch import Tensor

from npas.corruptions._chance import Chance
from npas.corruptions._corruption import Corruption


def _apply(images: Tensor, deviation: float, chance: Chance) -> Tensor:
    return images + chance.normal(*images.shape[1:]) * deviation


CORRUPTION = Corruption(
    title="normal noise on every channel of every pixel",
    constants=(0.04, 0.06, 0.08, 0.09, 0.10),
    apply=_apply,
)
