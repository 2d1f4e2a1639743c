"""MNIST and those in its file format: four idx files, plain or gzipped."""

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from npas.data._arrays import Arrays, Facts, bad
from npas.data._npz import read_npz
from npas.data._source import Source

_FACTS = Facts(num_classes=10, input_channels=1, input_size=28, num_train=60_000, num_test=10_000)
_STEMS = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


def idx_source(
    *, title: str, name: str, places: tuple[str, ...], fetch: Callable[[Path], None], how: str
) -> Source:
    """Describe a dataset in MNIST's format.

    Args:
        title: one line for people.
        name: NAME.npz in the data folder, with Keras's keys, is read too.
        places: folders with the four files, relative to the data folder, or absolute.
        fetch: downloads the four files to one of the places.
        how: what to do when it is missing.
    """

    def found(folder: Path) -> Path | None:
        candidates = [folder / place for place in places]
        return next((p for p in candidates if all(_files(p, s) for s in _STEMS.values())), None)

    def read(folder: Path, _argument: str) -> Arrays:
        place = found(folder)
        if place is None:
            return read_npz(folder / f"{name}.npz")
        loaded = {key: _read_idx(_files(place, stem)[0]) for key, stem in _STEMS.items()}
        return Arrays(
            x_train=loaded["x_train"][:, None],
            y_train=loaded["y_train"].astype(np.int64),
            x_test=loaded["x_test"][:, None],
            y_test=loaded["y_test"].astype(np.int64),
        )

    return Source(
        title=title,
        facts=lambda _folder, _argument: _FACTS,
        read=read,
        present=lambda folder, _argument: (
            found(folder) is not None or (folder / f"{name}.npz").is_file()
        ),
        fetch=fetch,
        how=how,
        crop_padding=2,
        flip=False,
    )


def _files(place: Path, stem: str) -> list[Path]:
    return [path for path in (place / stem, place / f"{stem}.gz") if path.is_file()]


def _read_idx(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Read one file: magic 0 0 8 (unsigned bytes) and the number of axes, the axes, the bytes."""
    packed = path.suffix == ".gz"
    try:
        content = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
        magic, axes = struct.unpack_from(">HBB", content)[:2], content[3]
        shape = struct.unpack_from(f">{axes}I", content, 4)
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (OSError, EOFError, zlib.error, struct.error, ValueError) as error:
        raise bad(path, f"is not a readable idx file ({error})") from error
    if magic != (0, 8):
        raise bad(path, "is not an idx file of unsigned bytes")
    return values.copy()
