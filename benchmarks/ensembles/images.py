"""The images that networks are asked for: held out, of the test set, corrupted."""

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import npas.data
import numpy as np
import torch
from npas import corruptions
from npas.data import Dataset
from npas.spec import DatasetSpec
from torch import Tensor

from benchmarks.ensembles.settings import Setting


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Labelled:
    """Images, uint8 `(N, C, S, S)`, and their labels, int64 `(N,)`."""

    images: Tensor
    labels: Tensor


@functools.lru_cache(maxsize=2)
def loaded(spec: DatasetSpec, data: Path | None) -> Dataset:
    """Return a dataset, read once in a process."""
    return npas.data.load(spec, data)


def held_out(setting: Setting, data: Path | None) -> Labelled:
    """Return the last images of the training set, which no arm trains on.

    Raises:
        ValueError: some of them are trained on.
    """
    whole = loaded(DatasetSpec(name=setting.dataset.name), data)
    first = len(whole.y_train) - setting.held_out
    if setting.dataset.train_images is None or setting.dataset.train_images > first:
        raise ValueError("the images held out are among those that are trained on")
    return Labelled(images=whole.x_train[first:], labels=whole.y_train[first:])


def tested(setting: Setting, data: Path | None) -> Labelled:
    """Return the test images."""
    known = loaded(setting.dataset, data)
    return Labelled(images=known.x_test, labels=known.y_test)


def corrupted(
    setting: Setting, data: Path | None, cache: Path
) -> Iterator[tuple[str, int, Labelled]]:
    """Yield the first test images under every corruption at every severity.

    Args:
        setting: says how many.
        data: data folder.
        cache: folder where they are kept once they are made.
    """
    clean = tested(setting, data)
    images, labels = clean.images[: setting.corrupted], clean.labels[: setting.corrupted]
    for name in corruptions.NAMES:
        for severity in corruptions.SEVERITIES:
            path = cache / f"{name}-{severity}.npy"
            if not path.exists():
                _save(path, corruptions.corrupt(images, name, severity).numpy())
            made = torch.from_numpy(np.load(path))
            yield name, severity, Labelled(images=made, labels=labels)


def _save(path: Path, array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    with unfinished.open("wb") as file:
        np.save(file, array)
    unfinished.replace(path)
