"""A dataset in memory, and how its bytes become what a network reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from npas.data._arrays import Arrays, Facts
from npas.tasks import TaskName, task_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """Turns bytes into network inputs: scaled, normalised, resized.

    Attributes:
        mean: per channel, of pixels scaled to 0..1.
        std: per channel, of pixels scaled to 0..1.
        input_size: height = width that the network reads, pixels.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_size: int

    def __call__(self, images: Tensor) -> Tensor:
        """Return float32 `(N, C, input_size, input_size)`.

        Args:
            images: uint8 `(N, C, S, S)`, or float of the same range, on any device.
        """
        mean, std = (
            torch.tensor(values, device=images.device).view(1, -1, 1, 1)
            for values in (self.mean, self.std)
        )
        inputs = (images.float() / 255 - mean) / std
        if inputs.shape[-1] != self.input_size:
            inputs = functional.interpolate(
                inputs,
                size=(self.input_size, self.input_size),
                mode="bilinear",
                antialias=inputs.shape[-1] > self.input_size,
            )
        return inputs


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Dataset:
    """Images and labels of one dataset, on the CPU.

    Attributes:
        name: as in a job, "digits" or "npz:NAME".
        x_train: uint8 `(N, C, S, S)`.
        y_train: int64 `(N,)`, from 0 to num_classes - 1; or uint8 `(N, S, S)`, 0 and 1, for cells.
        x_test: as x_train; touched once, to grade the delivered network.
        y_test: as y_train.
        num_classes: of the whole dataset, also when only its first images are used.
        mean: per channel, of the training pixels scaled to 0..1.
        std: likewise.
        fingerprint: sha256 of every image and label in order, hexadecimal.
        crop_padding: default random shift in training, pixels.
        flip: default random left-right flip in training.
        x_validation: as x_train, images to hold out of the training; None: a request says how
            many of x_train.
        y_validation: as y_train.
        class_names: by label; empty where classes have no names.
        origin: what the import of the images told, plain JSON; None where nothing was imported.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    crop_padding: int
    flip: bool
    x_validation: Tensor | None = None
    y_validation: Tensor | None = None
    class_names: tuple[str, ...] = ()
    origin: Mapping[str, Any] | None = None

    @property
    def task(self) -> TaskName:
        """Return the task: what a network has to say of an image."""
        return task_of(self.y_train).name

    @property
    def input_channels(self) -> int:
        """Return 1 for grey, 3 for colour."""
        return self.x_train.shape[1]

    @property
    def input_size(self) -> int:
        """Return height = width, pixels."""
        return self.x_train.shape[2]

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Return num_classes, input_channels, input_size: what networks take from a dataset."""
        return self.num_classes, self.input_channels, self.input_size

    def facts(self) -> Facts:
        """Return what is known of it without its pixels."""
        return Facts(
            num_classes=self.num_classes,
            input_channels=self.input_channels,
            input_size=self.input_size,
            num_train=len(self.y_train),
            num_test=len(self.y_test),
            task=self.task,
            num_validation=0 if self.y_validation is None else len(self.y_validation),
        )

    def inputs(self, *, input_size: int | None = None) -> Inputs:
        """Return the transform of images into a network's inputs; None: the images' own size."""
        return Inputs(mean=self.mean, std=self.std, input_size=input_size or self.input_size)


def dataset(
    name: str, arrays: Arrays, *, num_classes: int, crop_padding: int, flip: bool
) -> Dataset:
    """Fingerprint and measure four arrays that are already checked."""
    mean, std = _mean_and_std(arrays.x_train)
    return Dataset(
        name=name,
        x_train=torch.from_numpy(arrays.x_train),
        y_train=torch.from_numpy(arrays.y_train),
        x_test=torch.from_numpy(arrays.x_test),
        y_test=torch.from_numpy(arrays.y_test),
        num_classes=num_classes,
        mean=mean,
        std=std,
        fingerprint=arrays.fingerprint(),
        crop_padding=crop_padding,
        flip=flip,
        x_validation=_tensor(arrays.x_validation),
        y_validation=_tensor(arrays.y_validation),
        class_names=arrays.class_names,
        origin=arrays.origin,
    )


def _tensor(array: np.ndarray[Any, Any] | None) -> Tensor | None:
    return None if array is None else torch.from_numpy(array)


def _mean_and_std(
    images: np.ndarray[Any, np.dtype[np.uint8]],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Measure by counting byte values: exact, so the same on every machine."""
    channels = images.shape[1]
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(images), 4096):  # bincount widens bytes to 8 bytes each
        for channel in range(channels):
            pixels = images[start : start + 4096, channel].reshape(-1)
            counts[channel] += np.bincount(pixels, minlength=256)
    values = np.arange(256) / 255
    total = counts.sum(axis=1)
    mean = counts @ values / total
    variance = counts @ values**2 / total - mean**2
    # A channel that never changes has no spread to divide by.
    std = np.sqrt(np.maximum(variance, (1 / 255) ** 2))
    return tuple(mean.tolist()), tuple(std.tolist())
