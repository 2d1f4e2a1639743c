"""Fog, in banks."""

from torch import Tensor

from npas.corruptions._chance import Chance
from npas.corruptions._corruption import Corruption
from npas.corruptions._plasma import plasma


def _apply(images: Tensor, constants: tuple[float, float], chance: Chance) -> Tensor:
    thickness, decay = constants
    brightest = images.amax((1, 2, 3), keepdim=True)
    foggy = images + plasma(images.shape[-1], decay, chance) * thickness
    return foggy * brightest / (brightest + thickness)


CORRUPTION = Corruption(
    title="fog this thick and of this decay, and all made as bright as the image was",
    constants=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    apply=_apply,
)
