"""The arrays that make a dataset, what a plan needs to know of them, and their fingerprint."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from npas.errors import DataError

if TYPE_CHECKING:
    from npas.tasks import TaskName  # imports torch, which reading images does without


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What a plan needs to know of a dataset, without its pixels.

    Attributes:
        num_classes: labels run from 0 to num_classes - 1.
        input_channels: 1 for grey, 3 for colour.
        input_size: height = width, pixels.
        num_train: training images.
        num_test: test images.
        task: what is asked of an image; with cells there are two classes, no and yes.
        num_validation: images that are held out of the training; 0: the request says how many.
    """

    num_classes: int
    input_channels: int
    input_size: int
    num_train: int
    num_test: int
    task: "TaskName" = "classes"
    num_validation: int = 0

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Return num_classes, input_channels, input_size: what networks take from a dataset."""
        return self.num_classes, self.input_channels, self.input_size


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Arrays:
    """Images as uint8 `(N, channels, size, size)`, in their own order, and the answers.

    Those are labels, int64 `(N,)`, or for each cell of an image 0 or 1, uint8 `(N, size, size)`.
    Images to hold out, and the names of classes by label, are there where somebody gave them;
    `origin` is what the import of the images told.
    """

    x_train: np.ndarray[Any, np.dtype[np.uint8]]
    y_train: np.ndarray[Any, np.dtype[np.int64 | np.uint8]]
    x_test: np.ndarray[Any, np.dtype[np.uint8]]
    y_test: np.ndarray[Any, np.dtype[np.int64 | np.uint8]]
    x_validation: np.ndarray[Any, np.dtype[np.uint8]] | None = None
    y_validation: np.ndarray[Any, np.dtype[np.int64 | np.uint8]] | None = None
    class_names: tuple[str, ...] = ()
    origin: Mapping[str, Any] | None = None

    @property
    def facts(self) -> Facts:
        """Count what is here; without names, the largest training label says how many classes."""
        return Facts(
            num_classes=len(self.class_names) or int(self.y_train.max()) + 1,
            input_channels=self.x_train.shape[1],
            input_size=self.x_train.shape[2],
            num_train=len(self.x_train),
            num_test=len(self.x_test),
            task="classes" if self.y_train.ndim == 1 else "cells",
            num_validation=0 if self.x_validation is None else len(self.x_validation),
        )

    def fingerprint(self) -> str:
        """Hash shapes and contents: the same images have one fingerprint in every file format."""
        digest = hashlib.sha256()
        for array in self._in_order():
            digest.update(repr(array.shape).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def _in_order(self) -> Iterator[np.ndarray[Any, Any]]:
        yield from (self.x_train, self.y_train, self.x_test, self.y_test)
        if self.x_validation is not None and self.y_validation is not None:
            yield from (self.x_validation, self.y_validation)


def bad(path: Path, problem: str) -> DataError:
    """Return the error for a file, named without its folder: clients see the message."""
    return DataError(f"{path.name}: {problem}", field="/dataset")
