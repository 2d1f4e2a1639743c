"""How bright a colour is."""

from torch import Tensor

RED, GREEN, BLUE = 0.299, 0.587, 0.114
"""Shares of the channels, as ITU-R BT.601 and JPEG have them."""


def luma(images: Tensor) -> Tensor:
    """Return `(N, 1, S, S)` of images `(N, C, S, S)`; of one channel, itself."""
    if images.shape[1] == 1:
        return images
    return images[:, :1] * RED + images[:, 1:2] * GREEN + images[:, 2:] * BLUE
