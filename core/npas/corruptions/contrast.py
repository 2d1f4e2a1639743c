"""Too little contrast."""

from torch import Tensor

from npas.corruptions._chance import Chance
from npas.corruptions._corruption import Corruption


def _apply(images: Tensor, share: float, chance: Chance) -> Tensor:
    del chance
    # Sums of bytes are exact: not so, they would depend on how many images are summed at once.
    means = (images * 255).round().double().mean((2, 3), keepdim=True).float() / 255
    return (images - means) * share + means


CORRUPTION = Corruption(
    title="this share of the distance from the mean of the channel is kept",
    constants=(0.75, 0.5, 0.4, 0.3, 0.15),
    apply=_apply,
)
