"""Random changes of a whole batch at once, on bytes."""

import json
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from npas import registry
from npas.data import Dataset
from npas.errors import InvalidSpecError
from npas.spec import TrainingSpec
from npas.tasks import TaskName
from npas.train.policies import POLICIES, Policy

ERASED_AREA, ERASED_RATIO, ERASED_TRIES = (0.02, 0.33), (0.3, 3.3), 10
"""Of random erasing: parts of the image, and height over width, from the paper; how often a
rectangle is drawn until one is smaller than the image."""

CHANGES = ("crop_padding", "flip", "augment", "cutout", "random_erasing", "mixup", "cutmix")
"""Options that change training images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """What may happen to a training image; each image of a batch has its own draw.

    Attributes:
        crop_padding: pixels of black around the image before a window of its size is cut out.
        flip: left-right, for half of the images.
        cutout: side of the erased square, pixels; its centre is anywhere in the image.
        fill: bytes of what is erased, one per channel: the mean, which networks read as zero.
        policy: of operations that are drawn; None: none are.
        random_erasing: probability that a rectangle is erased, as in Zhong et al., "Random
            Erasing Data Augmentation", AAAI 2020.
    """

    crop_padding: int
    flip: bool
    cutout: int
    fill: tuple[int, ...]
    policy: Policy | None = None
    random_erasing: float = 0.0

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the batch, changed.

        Args:
            images: uint8 `(N, C, S, S)`, on any device.
            generator: on the CPU.

        Raises:
            MissingPackageError: torchvision, which policies need, is not installed.
        """
        if self.crop_padding:
            images = _shift(images, self.crop_padding, generator)
        if self.flip:
            chosen = torch.rand(len(images), generator=generator) < 0.5
            images = torch.where(_per_image(chosen, images), images.flip(-1), images)
        if self.policy is not None:
            images = self.policy(images, self.fill, generator)
        if self.cutout:
            images = _erase(images, self.cutout, self.fill, generator)
        if self.random_erasing:
            images = _erase_some(images, self.random_erasing, self.fill, generator)
        return images


def augmentation(spec: TrainingSpec, dataset: Dataset) -> Augmentation:
    """Return the augmentation of a request; "auto" is the dataset's default.

    Raises:
        InvalidSpecError: as for `check`.
        MissingPackageError: likewise.
    """
    check(spec, dataset.task, dataset.x_train.shape[1])
    padding, flip = spec.crop_padding, spec.flip
    return Augmentation(
        crop_padding=dataset.crop_padding if isinstance(padding, str) else padding,
        flip=dataset.flip if isinstance(flip, str) else flip,
        cutout=spec.cutout,
        fill=tuple(round(255 * mean) for mean in dataset.mean),
        policy=POLICIES.get(spec.augment),
        random_erasing=spec.random_erasing,
    )


def check(spec: TrainingSpec, task: TaskName, channels: int) -> None:
    """Check that what may happen to images leaves their answers right, and can happen.

    Raises:
        InvalidSpecError: images would be changed whose cells are asked for, or whose channels are
            neither grey nor red, green and blue.
        MissingPackageError: torchvision, which `augment` needs, is not installed.
    """
    if task != "classes":
        for name in CHANGES:
            if getattr(spec, name) not in ("auto", "none", 0, False):
                raise InvalidSpecError(
                    f"{name} changes images, but the answers for their cells would stay: leave it "
                    f"out for this dataset{_without(spec, name)}",
                    field=f"/training/{name}",
                )
    if spec.augment == "none":
        return
    if channels not in (1, 3):
        raise InvalidSpecError(
            f"augment {spec.augment!r} is for images of 1 or 3 channels, and these have "
            f'{channels}: give "none"',
            field="/training/augment",
        )
    registry.require("torchvision", extra="vision")


def _without(spec: TrainingSpec, name: str) -> str:
    """Return how to leave out what a recipe has filled in; "" where there is none."""
    default = TrainingSpec.model_fields[name].default
    return f' (beside recipe, give "{name}": {json.dumps(default)})' if spec.recipe else ""


def _per_image(values: Tensor, images: Tensor) -> Tensor:
    return values.to(images.device).view(-1, 1, 1, 1)


def _shift(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    count, _, height, width = images.shape
    padded = functional.pad(images, (padding,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: no window is copied yet
    down, right = (
        torch.randint(2 * padding + 1, (count,), generator=generator).to(images.device)
        for _ in range(2)
    )
    return windows[torch.arange(count, device=images.device), :, down, right]


def _erase(images: Tensor, side: int, fill: tuple[int, ...], generator: torch.Generator) -> Tensor:
    count, _, height, width = images.shape
    inside = []
    for length in (height, width):
        first = torch.randint(length, (count, 1), generator=generator) - side // 2
        place = torch.arange(length)
        inside.append(((place >= first) & (place < first + side)).to(images.device))
    return _filled(images, inside[0], inside[1], fill)


def _erase_some(
    images: Tensor, probability: float, fill: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    count, _, height, width = images.shape
    drawn = torch.rand(4, count, ERASED_TRIES, generator=generator)
    low, high = (math.log(ratio) for ratio in ERASED_RATIO)
    areas = (ERASED_AREA[0] + drawn[0] * (ERASED_AREA[1] - ERASED_AREA[0])) * height * width
    ratios = (low + drawn[1] * (high - low)).exp()
    heights, widths = (areas * ratios).sqrt().round(), (areas / ratios).sqrt().round()
    fits = (heights < height) & (widths < width)
    is_erased = fits.any(dim=1) & (torch.rand(count, generator=generator) < probability)
    first = fits.int().argmax(dim=1, keepdim=True)  # of equal ones, argmax takes the first
    inside = []
    sides = ((heights, height, drawn[2]), (widths, width, drawn[3]))
    for lengths, side, offset in sides:
        length = lengths.gather(1, first) * is_erased[:, None]
        start = (offset.gather(1, first) * (side - length + 1)).floor()
        place = torch.arange(side)
        inside.append(((place >= start) & (place < start + length)).to(images.device))
    return _filled(images, inside[0], inside[1], fill)


def _filled(images: Tensor, rows: Tensor, columns: Tensor, fill: tuple[int, ...]) -> Tensor:
    """Return images with a rectangle filled in each: rows `(N, H)`, columns `(N, W)`, bool."""
    square = rows[:, None, :, None] & columns[:, None, None, :]
    colour = torch.tensor(fill, dtype=images.dtype, device=images.device)
    return torch.where(square, colour.view(1, -1, 1, 1), images)
