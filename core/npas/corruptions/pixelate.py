"""A small image made large."""

from torch import Tensor

from npas.corruptions._chance import Chance
from npas.corruptions._corruption import Corruption
from npas.corruptions._resampling import block_taps, resampled


def _apply(images: Tensor, share: float, chance: Chance) -> Tensor:
    del chance
    side = images.shape[-1]
    return resampled(images, block_taps(side, int(side * share)))


CORRUPTION = Corruption(
    title="as many pixels as this share of the side are kept, each the mean of a few",
    constants=(0.95, 0.9, 0.85, 0.75, 0.65),
    apply=_apply,
)
