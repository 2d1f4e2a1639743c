"""What a file in this folder must offer to be a corruption."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from npas.corruptions._chance import Chance

PAPER_SIDE = 32
"""Pixels of the images that the paper's constants are for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Corruption:
    """One corruption, as the constant CORRUPTION of its file.

    Attributes:
        title: one line for people.
        constants: what `apply` gets, for each severity from 1 to 5.
        apply: images, constants and chance -> corrupted images; float `(N, C, S, S)`, those that
            come in from 0 to 1; those that go out are clamped to that. What becomes of an image
            must not depend on the others, to the last bit: no convolution or product of matrices,
            whose sums are ordered by the size of the batch.
    """

    title: str
    constants: tuple[Any, Any, Any, Any, Any]
    apply: Callable[[Tensor, Any, Chance], Tensor]


def enlargement(images: Tensor) -> float:
    """Return what to multiply a length by that the paper gives in pixels of its images.

    At least 1: in smaller images than the paper's the blurs would be of less than a pixel, and
    nothing would be seen of them.

    Args:
        images: `(..., S, S)`.
    """
    return max(1.0, images.shape[-1] / PAPER_SIDE)
