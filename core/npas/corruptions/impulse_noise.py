"""Noise of bit errors: salt and pepper."""

import torch
from torch import Tensor

from npas.corruptions._chance import Chance
from npas.corruptions._corruption import Corruption


def _apply(images: Tensor, share: float, chance: Chance) -> Tensor:
    drawn = chance.uniform(*images.shape[1:])
    salted = torch.where(drawn < share / 2, torch.ones(()), images)
    return torch.where(drawn >= 1 - share / 2, torch.zeros(()), salted)


CORRUPTION = Corruption(
    title="this share of all values is made 0 or 1, half of them each",
    constants=(0.01, 0.02, 0.03, 0.05, 0.07),
    apply=_apply,
)
