"""Noise of light itself, which comes in quanta."""

from torch import Tensor

from npas.corruptions._chance import Chance
from npas.corruptions._corruption import Corruption


def _apply(images: Tensor, quanta: int, chance: Chance) -> Tensor:
    return chance.poisson(images * quanta) / quanta


CORRUPTION = Corruption(
    title="as few quanta of light as these make white",
    constants=(500, 250, 100, 75, 50),
    apply=_apply,
)
