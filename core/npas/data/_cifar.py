"""CIFAR-10 and CIFAR-100 as torchvision stores them, or as one .npz file."""

from pathlib import Path
from typing import Any

import numpy as np

from npas import registry
from npas.data._arrays import Arrays, Facts, bad
from npas.data._npz import read_npz
from npas.data._source import Source


def cifar_source(*, title: str, name: str, num_classes: int, subfolder: str) -> Source:
    """Describe one of the two.

    Args:
        title: one line for people.
        name: NAME.npz in the data folder, with Keras's keys, is read too.
        num_classes: 10 or 100.
        subfolder: of the data folder, where torchvision keeps the official files.
    """
    facts = Facts(
        num_classes=num_classes,
        input_channels=3,
        input_size=32,
        num_train=50_000,
        num_test=10_000,
    )
    how = f"python -m npas.data {name} downloads it (170 MB); {name}.npz in the folder works too"

    def official(folder: Path) -> bool:
        return (folder / subfolder).is_dir()

    def read(folder: Path, _argument: str) -> Arrays:
        if not official(folder):
            return read_npz(folder / f"{name}.npz")
        try:
            return _read_official(folder, num_classes)
        except RuntimeError as error:
            raise bad(folder / subfolder, f"is damaged or incomplete; {how}") from error

    return Source(
        title=title,
        facts=lambda _folder, _argument: facts,
        read=read,
        present=lambda folder, _argument: official(folder) or (folder / f"{name}.npz").is_file(),
        fetch=lambda folder: _reader(num_classes)(folder, download=True),
        how=how,
        crop_padding=4,
        flip=True,
    )


def _reader(num_classes: int) -> Any:
    # Slow to import, and plans do without.
    datasets = registry.imported("torchvision.datasets", extra="vision")
    return getattr(datasets, f"CIFAR{num_classes}")


def _read_official(folder: Path, num_classes: int) -> Arrays:
    """Read the official files; torchvision verifies their checksums before it unpickles them."""
    train, test = (_reader(num_classes)(folder, train=part) for part in (True, False))
    return Arrays(
        x_train=np.ascontiguousarray(train.data.transpose(0, 3, 1, 2)),
        y_train=np.asarray(train.targets, dtype=np.int64),
        x_test=np.ascontiguousarray(test.data.transpose(0, 3, 1, 2)),
        y_test=np.asarray(test.targets, dtype=np.int64),
    )
