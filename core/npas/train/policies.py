"""Random changes of images, drawn for each: TrivialAugment and RandAugment, for whole batches.

Source: Mueller & Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation",
ICCV 2021, the wide space; Cubuk et al., "RandAugment: Practical Automated Data Augmentation with a
Reduced Search Space", NeurIPS 2020; operations and ranges as torchvision has them. Differences: an
operation is done once for all images of a batch that drew it, each with a strength of its own,
which torchvision's functions take one at a time; translations are no longer than an image; what
comes from outside an image is the dataset's mean, not black. Grey images have no colours to
change, so that "color" leaves them as they are.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from npas.registry import imported

BINS = 31
"""Strengths of an operation, from nothing to the most that its policy allows."""

Amounts = Tensor
"""Of each image `(N,)`: 0 to 1, or -1 to 1 where an operation has two directions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What is drawn for each image, and how strong changes are.

    Attributes:
        rounds: operations for each image, one after another.
        strength: 0 to 30, of all of them; None: drawn for each.
        shear: the most, as a slope.
        shift: the most, of the image's side.
        shift_pixels: likewise, pixels; the smaller one counts.
        degrees: of rotation, the most.
        blend: of brightness, colour, contrast and sharpness: how far the factor goes from 1.
        bits: that posterising takes away, the most.
    """

    rounds: int
    strength: int | None
    shear: float
    shift: float
    shift_pixels: float
    degrees: float
    blend: float
    bits: int

    def __call__(self, images: Tensor, fill: Sequence[int], generator: torch.Generator) -> Tensor:
        """Return the batch, changed.

        Args:
            images: uint8 `(N, C, S, S)` of 1 or 3 channels, on any device.
            fill: bytes of what comes from outside, one per channel.
            generator: on the CPU.

        Raises:
            MissingPackageError: torchvision is not installed.
        """
        for _ in range(self.rounds):
            images = self._changed(images, fill, generator)
        return images

    def _changed(self, images: Tensor, fill: Sequence[int], generator: torch.Generator) -> Tensor:
        count = len(images)
        drawn = torch.randint(len(OPERATIONS), (count,), generator=generator)
        strengths = torch.randint(BINS, (count,), generator=generator)
        if self.strength is not None:
            strengths.fill_(self.strength)
        signs = 1 - 2 * torch.randint(2, (count,), generator=generator)
        amounts = strengths / (BINS - 1)
        changed = images.clone()
        for number, operation in enumerate(OPERATIONS.values()):
            (places,) = (drawn == number).nonzero(as_tuple=True)
            if len(places):
                own = amounts[places] * (signs[places] if operation.is_signed else 1)
                there = places.to(images.device)
                some = images[there]
                changed[there] = operation.change(some, own.to(images.device), self, fill)
        return changed


TRIVIAL = Policy(
    rounds=1,
    strength=None,
    shear=0.99,
    shift=1.0,
    shift_pixels=32.0,
    degrees=135.0,
    blend=0.99,
    bits=6,
)
"""TrivialAugment, wide."""

RAND = Policy(
    rounds=2,
    strength=9,
    shear=0.3,
    shift=150 / 331,
    shift_pixels=math.inf,
    degrees=30.0,
    blend=0.9,
    bits=4,
)
"""RandAugment with two operations of magnitude 9."""

POLICIES = {"trivial": TRIVIAL, "rand": RAND}


class _Operation(NamedTuple):
    change: Callable[[Tensor, Amounts, Policy, Sequence[int]], Tensor]
    is_signed: bool


def _vision() -> Any:
    return imported("torchvision.transforms.v2.functional", extra="vision")


def _moved(images: Tensor, sources: Tensor, fill: Sequence[int]) -> Tensor:
    """Return images whose pixels come from other places, the nearest pixel each.

    Args:
        images: uint8 `(N, C, H, W)`.
        sources: `(N, 2, 3)`, maps pixels, counted from the centre, to where they come from.
        fill: of what comes from outside.
    """
    count, channels, height, width = images.shape
    down, right = (
        torch.linspace((1 - length) / 2, (length - 1) / 2, length, device=images.device)
        for length in (height, width)
    )
    rows, columns = torch.meshgrid(down, right, indexing="ij")
    places = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1).view(1, -1, 3)
    halves = torch.tensor([width / 2, height / 2], device=images.device)
    grid = (places @ sources.transpose(1, 2) / halves).view(count, height, width, 2)
    marked = torch.cat([images.float(), images.new_ones(count, 1, height, width).float()], dim=1)
    found = functional.grid_sample(marked, grid, mode="nearest", align_corners=False)
    colour = torch.tensor(fill, dtype=images.dtype, device=images.device).view(1, channels, 1, 1)
    return torch.where(found[:, -1:] < 0.5, colour, found[:, :-1].round().to(images.dtype))


def _sources(amounts: Amounts, **entries: Tensor) -> Tensor:
    """Return the maps `(N, 2, 3)` that leave all in place but for some entries."""
    found = torch.eye(2, 3, device=amounts.device).repeat(len(amounts), 1, 1)
    for name, values in entries.items():
        found[:, int(name[1]), int(name[2])] = values
    return found


def _identity(images: Tensor, *_: object) -> Tensor:
    return images


def _shear_x(images: Tensor, amounts: Amounts, policy: Policy, fill: Sequence[int]) -> Tensor:
    slopes = amounts * policy.shear  # about the upper edge
    return _moved(images, _sources(amounts, m01=slopes, m02=slopes * images.shape[-2] / 2), fill)


def _shear_y(images: Tensor, amounts: Amounts, policy: Policy, fill: Sequence[int]) -> Tensor:
    slopes = amounts * policy.shear  # about the left edge
    return _moved(images, _sources(amounts, m10=slopes, m12=slopes * images.shape[-1] / 2), fill)


def _pixels(amounts: Amounts, policy: Policy, side: int) -> Tensor:
    return (amounts * min(policy.shift * side, policy.shift_pixels)).trunc()


def _translate_x(images: Tensor, amounts: Amounts, policy: Policy, fill: Sequence[int]) -> Tensor:
    pixels = _pixels(amounts, policy, images.shape[-1])
    return _moved(images, _sources(amounts, m02=-pixels), fill)


def _translate_y(images: Tensor, amounts: Amounts, policy: Policy, fill: Sequence[int]) -> Tensor:
    pixels = _pixels(amounts, policy, images.shape[-2])
    return _moved(images, _sources(amounts, m12=-pixels), fill)


def _rotate(images: Tensor, amounts: Amounts, policy: Policy, fill: Sequence[int]) -> Tensor:
    angles = torch.deg2rad(-amounts * policy.degrees)
    turned = {"m00": angles.cos(), "m01": angles.sin()}
    turned |= {"m10": -angles.sin(), "m11": angles.cos()}
    return _moved(images, _sources(amounts, **turned), fill)


def _blended(images: Tensor, ends: Tensor, amounts: Amounts, policy: Policy) -> Tensor:
    """Return images moved away from, or towards, what they are at a factor of 0."""
    factors = (1 + amounts * policy.blend).view(-1, 1, 1, 1)
    mixed = images.float() * factors + ends.float() * (1 - factors)
    return mixed.clamp(0, 255).to(images.dtype)


def _brightness(images: Tensor, amounts: Amounts, policy: Policy, _: object) -> Tensor:
    return _blended(images, torch.zeros_like(images), amounts, policy)


def _color(images: Tensor, amounts: Amounts, policy: Policy, _: object) -> Tensor:
    return _blended(images, _vision().adjust_saturation(images, 0.0), amounts, policy)


def _contrast(images: Tensor, amounts: Amounts, policy: Policy, _: object) -> Tensor:
    return _blended(images, _vision().adjust_contrast(images, 0.0), amounts, policy)


def _sharpness(images: Tensor, amounts: Amounts, policy: Policy, _: object) -> Tensor:
    return _blended(images, _vision().adjust_sharpness(images, 0.0), amounts, policy)


def _posterize(images: Tensor, amounts: Amounts, policy: Policy, _: object) -> Tensor:
    lost = (8 - (8 - amounts * policy.bits).round()).to(images.dtype).view(-1, 1, 1, 1)
    return images >> lost << lost


def _solarize(images: Tensor, amounts: Amounts, _policy: Policy, _: object) -> Tensor:
    thresholds = 255 * (1 - amounts).view(-1, 1, 1, 1)
    return torch.where(images >= thresholds, _vision().invert(images), images)


def _autocontrast(images: Tensor, *_: object) -> Tensor:
    found: Tensor = _vision().autocontrast(images)
    return found


def _equalize(images: Tensor, *_: object) -> Tensor:
    found: Tensor = _vision().equalize(images)
    return found


OPERATIONS = {
    "identity": _Operation(_identity, is_signed=False),
    "shear_x": _Operation(_shear_x, is_signed=True),
    "shear_y": _Operation(_shear_y, is_signed=True),
    "translate_x": _Operation(_translate_x, is_signed=True),
    "translate_y": _Operation(_translate_y, is_signed=True),
    "rotate": _Operation(_rotate, is_signed=True),
    "brightness": _Operation(_brightness, is_signed=True),
    "color": _Operation(_color, is_signed=True),
    "contrast": _Operation(_contrast, is_signed=True),
    "sharpness": _Operation(_sharpness, is_signed=True),
    "posterize": _Operation(_posterize, is_signed=False),
    "solarize": _Operation(_solarize, is_signed=False),
    "autocontrast": _Operation(_autocontrast, is_signed=False),
    "equalize": _Operation(_equalize, is_signed=False),
}
"""By name; each is as likely as any other."""
