"""Any arrays of your own: "npz:NAME" is NAME.npz in the data folder."""

import re
from pathlib import Path

from npas.data._arrays import Arrays, Facts
from npas.data._npz import read_npz, read_npz_facts
from npas.data._source import Source
from npas.errors import DataError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def _path(folder: Path, name: str) -> Path:
    """Return the file of a name; names come from clients, so they are never paths."""
    if not _NAME.fullmatch(name):
        raise DataError(
            f"dataset npz:{name} is not a name: write npz:NAME for NAME.npz in the data folder, "
            "NAME up to 64 letters, digits, - and _, starting with a letter or digit",
            field="/dataset",
        )
    path = folder / f"{name}.npz"
    if not path.is_file():
        raise DataError(
            f"dataset npz:{name}: put {name}.npz in the data folder "
            "(python -m npas.data says where that is)",
            field="/dataset",
        )
    return path


def _read(folder: Path, name: str) -> Arrays:
    return read_npz(_path(folder, name))


def _facts(folder: Path, name: str) -> Facts:
    return read_npz_facts(_path(folder, name))


def _listed(folder: Path) -> list[str]:
    return sorted(p.stem for p in folder.glob("*.npz") if _NAME.fullmatch(p.stem))


SOURCE = Source(
    title="Arrays of your own",
    facts=_facts,
    read=_read,
    present=lambda folder, name: (folder / f"{name}.npz").is_file(),
    listed=_listed,
    how=(
        "numpy.savez('NAME.npz', x_train=..., y_train=..., x_test=..., y_test=...) in the data "
        "folder: images uint8 (N, S, S[, C]), labels integers from 0"
    ),
    crop_padding=0,  # nothing is known of the images, so nothing is done to them
    flip=False,
)
