"""Random shift, flip and cutout of a whole batch at once, on bytes."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from npas.data import Dataset
from npas.errors import InvalidSpecError
from npas.spec import TrainingSpec
from npas.tasks import TaskName


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """What may happen to a training image; each image of a batch has its own draw.

    Attributes:
        crop_padding: pixels of black around the image before a window of its size is cut out.
        flip: left-right, for half of the images.
        cutout: side of the erased square, pixels; its centre is anywhere in the image.
        fill: bytes of the erased square, one per channel: the mean, which networks read as zero.
    """

    crop_padding: int
    flip: bool
    cutout: int
    fill: tuple[int, ...]

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the batch, changed.

        Args:
            images: uint8 `(N, C, S, S)`, on any device.
            generator: on the CPU.
        """
        if self.crop_padding:
            images = _shift(images, self.crop_padding, generator)
        if self.flip:
            chosen = torch.rand(len(images), generator=generator) < 0.5
            images = torch.where(_per_image(chosen, images), images.flip(-1), images)
        if self.cutout:
            images = _erase(images, self.cutout, self.fill, generator)
        return images


def augmentation(spec: TrainingSpec, dataset: Dataset) -> Augmentation:
    """Return the augmentation of a request; "auto" is the dataset's default.

    Raises:
        InvalidSpecError: as for `check`.
    """
    check(spec, dataset.task)
    padding, flip = spec.crop_padding, spec.flip
    return Augmentation(
        crop_padding=dataset.crop_padding if isinstance(padding, str) else padding,
        flip=dataset.flip if isinstance(flip, str) else flip,
        cutout=spec.cutout,
        fill=tuple(round(255 * mean) for mean in dataset.mean),
    )


def check(spec: TrainingSpec, task: TaskName) -> None:
    """Check that what may happen to images leaves their answers right.

    Raises:
        InvalidSpecError: images would be changed whose cells are asked for.
    """
    if task == "classes":
        return
    for name in ("crop_padding", "flip", "cutout"):
        if getattr(spec, name) not in ("auto", 0, False):
            raise InvalidSpecError(
                f"{name} changes images, but the answers for their cells would stay: leave it out "
                "for this dataset",
                field=f"/training/{name}",
            )


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
    count, channels, height, width = images.shape
    inside = []
    for length in (height, width):
        first = torch.randint(length, (count, 1), generator=generator) - side // 2
        place = torch.arange(length)
        inside.append(((place >= first) & (place < first + side)).to(images.device))
    square = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    colour = torch.tensor(fill, dtype=images.dtype, device=images.device)
    return torch.where(square, colour.view(1, channels, 1, 1), images)
