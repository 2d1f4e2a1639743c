"""Too much light."""

import torch
from torch import Tensor

from npas.corruptions._chance import Chance
from npas.corruptions._corruption import Corruption


def _apply(images: Tensor, more: float, chance: Chance) -> Tensor:
    """Raise the value of hue, saturation and value: all channels grow by its factor."""
    del chance
    value = images.amax(1, keepdim=True)
    raised = (value + more).clamp(max=1)
    return torch.where(value > 0, images * (raised / value), raised)


CORRUPTION = Corruption(
    title="so much is added to the value of every colour (HSV)",
    constants=(0.05, 0.1, 0.15, 0.2, 0.3),
    apply=_apply,
)
