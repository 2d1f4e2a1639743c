"""Where the arrays of a dataset are read from an .npz file, and what they must hold."""

import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from npas.data._arrays import Arrays, Facts, bad
from npas.data._class_names import wrong_class_name
from npas.errors import DataError

KEYS = ("x_train", "y_train", "x_test", "y_test")
HELD_OUT = ("x_validation", "y_validation")
NAMES = "class_names"

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

_MOST_CLASSES, _LONGEST_NAME = 100_000, 1_000
_AT_ONCE = 1 << 24  # bytes of floats that are converted at a time
_DAMAGED = (
    *(ValueError, TypeError, KeyError, SyntaxError, RuntimeError, OSError, EOFError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError),
)
"""What zipfile and numpy raise over bytes that are not what they should be; RuntimeError is for
files that are encrypted or packed in a way that is not known here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What a file says of one array: shape, type of its numbers."""

    shape: Shape
    dtype: np.dtype[Any]

    @property
    def num_bytes(self) -> int:
        """Of the whole array."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """All labels of a file, int64 `(N,)` by split, the number of classes and their names."""

    by_split: Mapping[str, np.ndarray[Any, np.dtype[np.int64]]]
    num_classes: int
    names: tuple[str, ...]


def read_npz(path: Path) -> Arrays:
    """Read and check the arrays of a Keras-style .npz file.

    Args:
        path: images `(N, S, S)`, `(N, S, S, C)` or `(N, C, S, S)`, uint8, or floats from 0 to 1,
            which become 0 to 255; labels integers `(N,)` or `(N, 1)`, from 0. Beside training and
            test images it may have x_validation and y_validation, and class_names.

    Raises:
        DataError: the file is missing or damaged, or an array is not as above.
    """
    headers = read_headers(path)
    labels = read_labels(path, headers)
    images = {key: channels_first(read_pixels(path, key)) for key in headers if key[0] == "x"}
    by_split = labels.by_split
    return Arrays(
        x_train=images["x_train"],
        y_train=by_split["train"],
        x_test=images["x_test"],
        y_test=by_split["test"],
        x_validation=images.get("x_validation"),
        y_validation=by_split.get("validation"),
        class_names=labels.names,
    )


def read_npz_facts(path: Path) -> Facts:
    """Read the headers of the images and the labels themselves: megabytes stay on disk.

    Raises:
        DataError: as for `read_npz`.
    """
    headers = read_headers(path)
    labels = read_labels(path, headers)
    for key, header in headers.items():
        if key[0] == "x" and header.dtype != np.uint8:
            read_pixels(path, key)  # only the numbers say whether they can be pixels
    channels, size = _channels_and_size(headers["x_train"].shape)
    return Facts(
        num_classes=labels.num_classes,
        input_channels=channels,
        input_size=size,
        num_train=len(labels.by_split["train"]),
        num_test=len(labels.by_split["test"]),
        num_validation=len(labels.by_split.get("validation", ())),
    )


def read_headers(path: Path, *, is_square: bool = True) -> dict[str, Header]:
    """Check keys, types and shapes before anything large is read; return the headers by key.

    Args:
        path: of the file.
        is_square: whether images must be.

    Raises:
        DataError: the file is missing or damaged, or an array is not what it must be.
    """
    if not path.is_file():
        raise bad(path, "there is no such file in the data folder")
    try:
        with zipfile.ZipFile(path) as archive:
            present = sorted(name.removesuffix(".npy") for name in archive.namelist())
            wanted = _wanted(path, present)
            headers = {key: _header(archive, key) for key in wanted}
            sizes = {key: archive.getinfo(f"{key}.npy").file_size for key in wanted}
    except DataError:
        raise
    except _DAMAGED as error:
        raise bad(path, f"is not a readable .npz file ({error})") from error
    for key, header in headers.items():
        _check_header(path, key, header, sizes[key], is_square=is_square)
    _check_together(path, headers)
    return headers


def read_labels(path: Path, headers: Mapping[str, Header]) -> Labels:
    """Read and check the labels of all splits, and the names of classes.

    Raises:
        DataError: labels out of range, one class, or a class that no training image is of.
    """
    keys = [key for key in headers if key[0] == "y"]
    loaded = _read(path, (*keys, *([NAMES] if NAMES in headers else ())))
    by_split = {key[2:]: _labels(path, key, loaded[key]) for key in keys}
    names = tuple(str(name) for name in loaded.get(NAMES, ()))
    if len(set(names)) < len(names):
        raise bad(path, f"{NAMES} holds a name twice")
    if wrong := wrong_class_name(names):
        raise bad(path, wrong)
    return Labels(
        by_split=by_split,
        num_classes=_num_classes(path, by_split, names),
        names=names,
    )


def read_pixels(path: Path, key: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Read images as they are stored, as uint8; floats from 0 to 1 become 0 to 255, rounded.

    Raises:
        DataError: damaged, or floats beyond 0 and 1.
    """
    images = _read(path, (key,))[key]
    if images.dtype == np.uint8:
        return images
    pixels = np.empty(images.shape, np.uint8)
    step = max(1, _AT_ONCE // max(1, images[:1].nbytes))
    for start in range(0, len(images), step):
        part = images[start : start + step].astype(np.float64)
        least, most = float(part.min()), float(part.max())
        if not (least >= 0 and most <= 1):  # NaN is neither
            raise bad(
                path,
                f"{key} is {images.dtype} and runs from {least:g} to {most:g}; floats must be "
                "from 0 to 1: divide them by their largest value, or give uint8, 0 to 255",
            )
        pixels[start : start + step] = np.rint(255 * part)
    return pixels


def channels_first(images: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return images as `(N, C, H, W)`, from any layout that `read_headers` lets pass."""
    if images.ndim == 3:
        images = images[:, None]
    elif _is_channels_last(images.shape):
        images = images.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images, dtype=np.uint8)


def _wanted(path: Path, present: list[str]) -> list[str]:
    missing = [key for key in KEYS if key not in present]
    if missing:
        raise bad(path, f"has no {', '.join(missing)} (it has {', '.join(present[:8])})")
    held_out = [key for key in HELD_OUT if key in present]
    if len(held_out) == 1:
        raise bad(path, f"has {held_out[0]} alone; give both of {' and '.join(HELD_OUT)}")
    return [*KEYS, *held_out, *([NAMES] if NAMES in present else [])]


def _read(path: Path, keys: tuple[str, ...]) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {key: _array(archive, key) for key in keys}
    except _DAMAGED as error:
        raise bad(path, f"is damaged ({error}); write it again with numpy.savez") from error


def _array(archive: zipfile.ZipFile, key: str) -> Array:
    # Not by numpy.load: of "x" and "x.npy" it takes the first, whose header nobody has looked at.
    with archive.open(f"{key}.npy") as file:
        return npy.read_array(file, allow_pickle=False)


def _header(archive: zipfile.ZipFile, key: str) -> Header:
    with archive.open(f"{key}.npy") as file:
        version = npy.read_magic(file)
        first = version == (1, 0)
        read = npy.read_array_header_1_0 if first else npy.read_array_header_2_0
        shape, _, dtype = read(file)
        return Header(shape=tuple(shape), dtype=dtype)


def _check_header(
    path: Path, key: str, header: Header, stored_bytes: int, *, is_square: bool
) -> None:
    shape, dtype = header.shape, header.dtype
    if dtype.hasobject:
        raise bad(path, f"{key} holds pickled Python objects, which are never loaded")
    # A header may claim any size; numpy would allocate it before it finds the data too short.
    if header.num_bytes > stored_bytes:
        raise bad(path, f"{key} is shorter than its header says")
    if key == NAMES:
        is_list = dtype.kind == "U" and len(shape) == 1 and 2 <= shape[0] <= _MOST_CLASSES
        if not is_list or dtype.itemsize > _LONGEST_NAME * np.dtype("U1").itemsize:
            raise bad(
                path,
                f"{key} is {dtype} of shape {shape}; give a list of texts of up to "
                f"{_LONGEST_NAME} letters",
            )
    elif key.startswith("x"):
        _check_images(path, key, header, is_square=is_square)
    else:
        if dtype.kind not in "iu":
            raise bad(path, f"{key} is {dtype}; labels must be integers")
        if len(shape) != 1 and shape[1:] != (1,):
            raise bad(path, f"{key} has shape {shape}; labels must be (N,)")


def _check_images(path: Path, key: str, header: Header, *, is_square: bool) -> None:
    shape, dtype = header.shape, header.dtype
    if dtype != np.uint8 and not (dtype.kind == "f" and dtype.itemsize <= 8):
        raise bad(path, f"{key} is {dtype}; images must be uint8, 0 to 255, or floats, 0 to 1")
    if _channels_and_size(shape) != (0, 0):
        return
    is_oblong = _oblong(shape)
    if is_oblong and not is_square:
        return
    raise bad(
        path,
        f"{key} has shape {shape}; allowed are (N, S, S), (N, S, S, C) and (N, C, S, S) "
        "with S from 4 to 1024 and C from 1 to 64"
        + ("; npas.data.import_dataset makes images square" if is_oblong else ""),
    )


def _check_together(path: Path, headers: Mapping[str, Header]) -> None:
    leasts = {"train": 10, "test": 1} | ({"validation": 1} if HELD_OUT[0] in headers else {})
    for part, least in leasts.items():
        images, labels = (headers[f"{key}_{part}"].shape[0] for key in "xy")
        if images != labels:
            raise bad(path, f"x_{part} has {images} images but y_{part} has {labels} labels")
        if images < least:
            raise bad(path, f"x_{part} has {images} images; at least {least} are needed")
        shape, first = headers[f"x_{part}"].shape[1:], headers["x_train"].shape[1:]
        if shape != first:
            raise bad(path, f"x_train has images of shape {first}, x_{part} {shape}")


def _channels_and_size(shape: Shape) -> tuple[int, int]:
    """Return channels and side, telling the layout by the two equal axes; (0, 0) if none fits."""
    channels, size = 0, 0
    if len(shape) == 3 and shape[1] == shape[2]:
        channels, size = 1, shape[1]
    elif len(shape) == 4 and shape[1] == shape[2]:
        channels, size = shape[3], shape[1]
    elif len(shape) == 4 and shape[2] == shape[3]:
        channels, size = shape[1], shape[2]
    return (channels, size) if 1 <= channels <= 64 and 4 <= size <= 1024 else (0, 0)


def _oblong(shape: Shape) -> bool:
    """Return whether these may be images that are not square: grey, or of 1 or 3 channels."""
    if len(shape) == 3:
        return min(shape[1:]) >= 1
    return len(shape) == 4 and (shape[3] in (1, 3) or shape[1] in (1, 3)) and min(shape[1:]) >= 1


def _is_channels_last(shape: Shape) -> bool:
    """Return whether the channels of `(N, ., ., .)` come last: two equal axes tell, or 1 or 3."""
    if shape[1] == shape[2]:
        return True
    return shape[2] != shape[3] and shape[3] in (1, 3)


def _labels(path: Path, key: str, labels: Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    labels = labels.reshape(-1)
    if int(labels.min()) < 0 or int(labels.max()) >= _MOST_CLASSES:
        found = f"{int(labels.min())} to {int(labels.max())}"
        raise bad(path, f"{key} runs from {found}; labels must be from 0 to 99,999")
    return labels.astype(np.int64)


def _num_classes(
    path: Path,
    by_split: Mapping[str, np.ndarray[Any, np.dtype[np.int64]]],
    names: tuple[str, ...],
) -> int:
    """Return how many classes there are, after checking that no label is beyond them."""
    classes = len(names) or int(by_split["train"].max()) + 1
    if classes < 2 or (names and len(set(by_split["train"].tolist())) < 2):
        raise bad(path, "y_train holds one class only; at least 2 are needed")
    for split, labels in by_split.items():
        if (most := int(labels.max())) >= classes:
            has = f"{len(names)} class_names" if names else f"y_train only 0 to {classes - 1}"
            raise bad(path, f"y_{split} has label {most}, but {has}")
    return classes
