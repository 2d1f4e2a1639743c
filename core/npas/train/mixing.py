"""Images mixed with others of their batch, and their labels with them.

Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018; Yun et al., "CutMix:
Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV 2019. As in
the papers' code, one number for each batch says how much of every image stays.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from npas.spec import TrainingSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixing:
    """Mixes every image of a batch with another one.

    Attributes:
        mixup: alpha; 0: images are not blended.
        cutmix: alpha; 0: no rectangles are cut. Where neither is 0, a coin says which for a batch.
    """

    mixup: float
    cutmix: float

    def __call__(
        self, images: Tensor, labels: Tensor, num_classes: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return the mixed images, and how much of each class is in them.

        Args:
            images: uint8 or float `(N, C, S, S)`, on any device.
            labels: int64 `(N,)`.
            num_classes: labels are below; -1: no higher label than those here.
            generator: on the CPU.

        Returns:
            images of the same range, those that are blended float32; shares, float32 `(N, K)`,
            which add up to 1 for each image.
        """
        partners = torch.randperm(len(images), generator=generator)
        seed = int(torch.randint(2**62, (), generator=generator))
        chance = np.random.default_rng(seed)  # torch draws no Beta with a generator of its own
        is_cut = self.cutmix > 0 and (self.mixup == 0 or chance.random() < 0.5)
        alpha = self.cutmix if is_cut else self.mixup
        kept = float(chance.beta(alpha, alpha))
        others = images[partners.to(images.device)]
        if is_cut:
            images, kept = _pasted(images, others, kept, chance)
        else:
            images = kept * images.float() + (1 - kept) * others.float()
        own = functional.one_hot(labels, num_classes).float()
        return images, kept * own + (1 - kept) * own[partners.to(labels.device)]


def mixing(spec: TrainingSpec) -> Mixing | None:
    """Return what mixes the images of a training; None: nothing does."""
    if not spec.mixup and not spec.cutmix:
        return None
    return Mixing(mixup=spec.mixup, cutmix=spec.cutmix)


def _pasted(
    images: Tensor, others: Tensor, kept: float, chance: np.random.Generator
) -> tuple[Tensor, float]:
    """Return images with a rectangle of others, the same place in all, and what stays of them.

    The rectangle has the shape of the image; where it reaches over an edge, it is cut, and more
    of the image stays than was drawn.
    """
    height, width = images.shape[-2:]
    edges = []
    for length in (height, width):
        half = int(length * (1 - kept) ** 0.5 / 2)
        centre = int(chance.integers(length))
        edges.append((max(0, centre - half), min(length, centre + half)))
    (top, bottom), (left, right) = edges
    images = images.clone()
    images[..., top:bottom, left:right] = others[..., top:bottom, left:right]
    return images, 1 - (bottom - top) * (right - left) / (height * width)
