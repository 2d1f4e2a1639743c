"""Four arrays make a dataset: where they are read from an .npz, and what they must hold."""

import lzma
import struct
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from npas.errors import DataError
from npas.tasks import TaskName

KEYS = ("x_train", "y_train", "x_test", "y_test")
_DAMAGED = (
    *(ValueError, TypeError, KeyError, SyntaxError, RuntimeError, OSError, EOFError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError),
)
"""What zipfile and numpy raise over bytes that are not what they should be; RuntimeError is for
files that are encrypted or packed in a way that is not known here."""


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
    """

    num_classes: int
    input_channels: int
    input_size: int
    num_train: int
    num_test: int
    task: TaskName = "classes"

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Return num_classes, input_channels, input_size: what networks take from a dataset."""
        return self.num_classes, self.input_channels, self.input_size


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Arrays:
    """Images as uint8 `(N, channels, size, size)`, in their own order, and the answers.

    Those are labels, int64 `(N,)`, or for each cell of an image 0 or 1, uint8 `(N, size, size)`.
    """

    x_train: np.ndarray[Any, np.dtype[np.uint8]]
    y_train: np.ndarray[Any, np.dtype[np.int64 | np.uint8]]
    x_test: np.ndarray[Any, np.dtype[np.uint8]]
    y_test: np.ndarray[Any, np.dtype[np.int64 | np.uint8]]

    @property
    def facts(self) -> Facts:
        """Count what is here; the number of classes is the largest training label plus one."""
        return Facts(
            num_classes=int(self.y_train.max()) + 1,
            input_channels=self.x_train.shape[1],
            input_size=self.x_train.shape[2],
            num_train=len(self.x_train),
            num_test=len(self.x_test),
            task="classes" if self.y_train.ndim == 1 else "cells",
        )


def read_npz(path: Path) -> Arrays:
    """Read and check the four arrays of a Keras-style .npz file.

    Args:
        path: images uint8 `(N, S, S)`, `(N, S, S, C)` or `(N, C, S, S)`; labels integers `(N,)`
            or `(N, 1)`, from 0.

    Raises:
        DataError: the file is missing or damaged, or an array is not as above.
    """
    _check_headers(path)
    loaded = _read(path, KEYS)
    y_train, y_test = (_labels(path, key, loaded[key]) for key in ("y_train", "y_test"))
    _check_labels(path, y_train, y_test)
    x_train, x_test = (_channels_first(loaded[key]) for key in ("x_train", "x_test"))
    return Arrays(x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


def read_npz_facts(path: Path) -> Facts:
    """Read the headers of the images and the labels themselves: megabytes stay on disk.

    Raises:
        DataError: as for `read_npz`.
    """
    shapes = _check_headers(path)
    labels = _read(path, ("y_train", "y_test"))
    y_train, y_test = (_labels(path, key, labels[key]) for key in ("y_train", "y_test"))
    _check_labels(path, y_train, y_test)
    channels, size = _channels_and_size(shapes["x_train"])
    return Facts(
        num_classes=int(y_train.max()) + 1,
        input_channels=channels,
        input_size=size,
        num_train=len(y_train),
        num_test=len(y_test),
    )


def bad(path: Path, problem: str) -> DataError:
    """Return the error for a file, named without its folder: clients see the message."""
    return DataError(f"{path.name}: {problem}", field="/dataset")


def _read(path: Path, keys: tuple[str, ...]) -> dict[str, np.ndarray[Any, Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {key: _array(archive, key) for key in keys}
    except _DAMAGED as error:
        raise bad(path, f"is damaged ({error}); write it again with numpy.savez") from error


def _array(archive: zipfile.ZipFile, key: str) -> np.ndarray[Any, Any]:
    # Not by numpy.load: of "x" and "x.npy" it takes the first, whose header nobody has looked at.
    with archive.open(f"{key}.npy") as file:
        return npy.read_array(file, allow_pickle=False)


def _check_headers(path: Path) -> dict[str, tuple[int, ...]]:
    """Check keys, dtypes and shapes before anything large is read; return the shapes by key."""
    if not path.is_file():
        raise bad(path, "there is no such file in the data folder")
    try:
        with zipfile.ZipFile(path) as archive:
            present = sorted(name.removesuffix(".npy") for name in archive.namelist())
            missing = [key for key in KEYS if key not in present]
            if missing:
                raise bad(path, f"has no {', '.join(missing)} (it has {', '.join(present[:8])})")
            headers = {key: _header(archive, key) for key in KEYS}
            sizes = {key: archive.getinfo(f"{key}.npy").file_size for key in KEYS}
    except DataError:
        raise
    except _DAMAGED as error:
        raise bad(path, f"is not a readable .npz file ({error})") from error
    for key, (shape, dtype) in headers.items():
        _check_header(path, key, shape, dtype, sizes[key])
    _check_together(path, {key: shape for key, (shape, _) in headers.items()})
    return {key: shape for key, (shape, _) in headers.items()}


def _header(archive: zipfile.ZipFile, key: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with archive.open(f"{key}.npy") as file:
        version = npy.read_magic(file)
        first = version == (1, 0)
        read = npy.read_array_header_1_0 if first else npy.read_array_header_2_0
        shape, _, dtype = read(file)
        return tuple(shape), dtype


def _check_header(
    path: Path, key: str, shape: tuple[int, ...], dtype: np.dtype[Any], stored_bytes: int
) -> None:
    if dtype.hasobject:
        raise bad(path, f"{key} holds pickled Python objects, which are never loaded")
    # A header may claim any size; numpy would allocate it before it finds the data too short.
    if int(np.prod(shape, dtype=object)) * dtype.itemsize > stored_bytes:
        raise bad(path, f"{key} is shorter than its header says")
    if key.startswith("x"):
        if dtype != np.uint8:
            raise bad(path, f"{key} is {dtype}; images must be uint8, 0 to 255")
        if _channels_and_size(shape) == (0, 0):
            raise bad(
                path,
                f"{key} has shape {shape}; allowed are (N, S, S), (N, S, S, C) and (N, C, S, S) "
                "with S from 4 to 1024 and C from 1 to 64",
            )
    else:
        if dtype.kind not in "iu":
            raise bad(path, f"{key} is {dtype}; labels must be integers")
        if len(shape) != 1 and shape[1:] != (1,):
            raise bad(path, f"{key} has shape {shape}; labels must be (N,)")


def _check_together(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    for part, least in (("train", 10), ("test", 1)):
        images, labels = shapes[f"x_{part}"][0], shapes[f"y_{part}"][0]
        if images != labels:
            raise bad(path, f"x_{part} has {images} images but y_{part} has {labels} labels")
        if images < least:
            raise bad(path, f"x_{part} has {images} images; at least {least} are needed")
    if shapes["x_train"][1:] != shapes["x_test"][1:]:
        raise bad(
            path,
            f"x_train has images of shape {shapes['x_train'][1:]}, x_test {shapes['x_test'][1:]}",
        )


def _channels_and_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return channels and side, telling the layout by the two equal axes; (0, 0) if none fits."""
    channels, size = 0, 0
    if len(shape) == 3 and shape[1] == shape[2]:
        channels, size = 1, shape[1]
    elif len(shape) == 4 and shape[1] == shape[2]:
        channels, size = shape[3], shape[1]
    elif len(shape) == 4 and shape[2] == shape[3]:
        channels, size = shape[1], shape[2]
    return (channels, size) if 1 <= channels <= 64 and 4 <= size <= 1024 else (0, 0)


def _channels_first(images: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[1] == images.shape[2]:
        images = images.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images, dtype=np.uint8)


def _labels(
    path: Path, key: str, labels: np.ndarray[Any, Any]
) -> np.ndarray[Any, np.dtype[np.int64]]:
    labels = labels.reshape(-1)
    if int(labels.min()) < 0 or int(labels.max()) >= 100_000:
        found = f"{int(labels.min())} to {int(labels.max())}"
        raise bad(path, f"{key} runs from {found}; labels must be from 0 to 99,999")
    return labels.astype(np.int64)


def _check_labels(
    path: Path,
    y_train: np.ndarray[Any, np.dtype[np.int64]],
    y_test: np.ndarray[Any, np.dtype[np.int64]],
) -> None:
    classes = int(y_train.max()) + 1
    if classes < 2:
        raise bad(path, "y_train holds one class only; at least 2 are needed")
    if int(y_test.max()) >= classes:
        raise bad(
            path, f"y_test has label {int(y_test.max())}, but y_train only 0 to {classes - 1}"
        )
