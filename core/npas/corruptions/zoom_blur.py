"""Blur of a camera that comes near quickly."""

from torch import Tensor

from npas.corruptions._chance import Chance
from npas.corruptions._corruption import Corruption
from npas.corruptions._resampling import resampled, zoom_taps


def _apply(images: Tensor, most: int, chance: Chance) -> Tensor:
    del chance
    total = images * 2  # as in the released code: itself, and enlarged by nothing
    for percent in range(1, most + 1):
        total += resampled(images, zoom_taps(images.shape[-1], 1 + percent / 100))
    return total / (most + 2)


CORRUPTION = Corruption(
    title="the mean of all enlargements up to this one, in percent",
    # What numpy.arange(1, 1.06, 0.01), ... of the released code give: rounding makes two longer.
    constants=(6, 11, 15, 20, 25),
    apply=_apply,
)
