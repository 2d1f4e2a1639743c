"""CIFAR-10-C-like corruptions: fifteen ways in which images go bad, each in five severities.

Written afresh after Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations" (ICLR 2019), section 4, with the constants that their CIFAR-10-C
was made with. It is not that dataset: chance is drawn otherwise, the ice of `frost` is made, not
photographed, most blurs meet a mirror at the edge, and bytes are rounded, not cut off. Call
results "CIFAR-10-C-like".

With these constants the distance from the clean images does not always grow with severity: it
falls for `elastic_transform`, from stretches to dents, and stays about the same, or falls, between
some severities of `glass_blur`, `motion_blur`, `snow` and `frost`.

One file each, the file name is the corruption's name; it offers CORRUPTION.

Example:
    >>> import torch
    >>> from npas import corruptions
    >>> corruptions.corrupt(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), "fog", 5).shape
    torch.Size([2, 3, 32, 32])
"""

from typing import cast

import torch
from torch import Tensor

from npas import registry
from npas.corruptions._chance import Chance
from npas.corruptions._corruption import Corruption as Corruption
from npas.errors import DataError, InvalidSpecError

NAMES = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
"""Those of the paper, in its order."""

SEVERITIES = (1, 2, 3, 4, 5)

LEAST_SIDE = 8
"""Pixels; smaller images have no room for a blur or a block of JPEG."""

_AT_ONCE = 64
"""Images that are worked on together: they stay in the cache, and memory is bounded."""


def find(name: str) -> Corruption:
    """Return the corruption of that name.

    Raises:
        UnknownNameError: there is none.
    """
    module = registry.load("npas.corruptions", name, kind="corruption")
    return cast(Corruption, module.CORRUPTION)


def corrupt(images: Tensor, name: str, severity: int, *, seed: int = 0, first: int = 0) -> Tensor:
    """Return corrupted images; the same arguments give the same bytes.

    Each image has its own stream of chance, for its index, name, severity and seed: what becomes
    of image i depends neither on the other images nor on how many there are. The work is done on
    the CPU, and the result is brought back to where the images were.

    Args:
        images: uint8 `(N, C, S, S)`, C 1 or 3, S at least 8, on any device.
        name: one of NAMES, or of what other distributions offer.
        severity: 1, the mildest, to 5.
        seed: other seeds draw other noise, ice, angles, ...
        first: index of the first image, for who corrupts a dataset in batches.

    Returns:
        uint8 `(N, C, S, S)`, on the device of `images`, which are left as they are.

    Raises:
        UnknownNameError: there is no such corruption.
        InvalidSpecError: the severity is none of SEVERITIES.
        DataError: images of another type or shape.
    """
    corruption = find(name)
    if severity not in SEVERITIES:
        raise InvalidSpecError(f"severity {severity!r}: it must be a whole number from 1 to 5")
    _check(images)
    level = SEVERITIES.index(severity)
    constants = corruption.constants[level]
    place = ("corruption", registry.canonical(name), level + 1, seed)
    done = torch.empty(images.shape, dtype=torch.uint8)
    for start in range(0, len(images), _AT_ONCE):
        part = images[start : start + _AT_ONCE].cpu()
        chance = Chance(place, range(first + start, first + start + len(part)))
        changed = corruption.apply(part.float() / 255, constants, chance)
        done[start : start + len(part)] = (changed.clamp(0, 1) * 255).round().to(torch.uint8)
    return done.to(images.device)


def _check(images: Tensor) -> None:
    """Raise DataError unless the images are what can be corrupted."""
    shape = tuple(images.shape)
    is_square = len(shape) == 4 and shape[2] == shape[3] >= LEAST_SIDE
    if images.dtype != torch.uint8 or not is_square or shape[1] not in (1, 3):
        raise DataError(
            f"images are {images.dtype} {shape}; to be corrupted they must be torch.uint8 "
            f"(N, C, S, S) with C 1 or 3 and S at least {LEAST_SIDE}"
        )
