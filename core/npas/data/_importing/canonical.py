"""The file that an import makes: an .npz that is the same bytes for the same images."""

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from npas.data._arrays import Arrays
from npas.data._importing.album import Split
from npas.data._importing.gathering import Gathered
from npas.data._importing.splitting import Order

_CHUNK = 1 << 23  # bytes of images that are copied at once
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # files hold no times, so that equal images are equal bytes

Array = np.ndarray[Any, Any]


def written(gathered: Gathered, order: Order, target: Path) -> None:
    """Write images, labels and the names of classes, atomically, uncompressed.

    Raises:
        OSError: the disk is full, or the folder is not there.
    """
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".import-", suffix=".npz")
    try:
        with (
            os.fdopen(handle, "wb") as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive,
        ):
            for split in _present(order):
                chosen = order[split]
                shape = (len(chosen), *gathered.images.shape[1:])
                _write(archive, f"x_{split}", shape, "|u1", _rows(gathered.images, chosen))
                labels = gathered.labels[chosen].astype("<i8")
                _write(archive, f"y_{split}", labels.shape, "<i8", iter([labels]))
            if gathered.class_names:
                names = np.array(gathered.class_names)
                names = names.astype(names.dtype.newbyteorder("<"))
                _write(archive, "class_names", names.shape, names.dtype.str, iter([names]))
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def arrays(gathered: Gathered, order: Order) -> Arrays:
    """Return what a file would hold."""

    def of(split: Split) -> tuple[Any, Any]:
        chosen = order[split]
        return gathered.images[chosen], gathered.labels[chosen]

    (x_train, y_train), (x_test, y_test) = of("train"), of("test")
    x_validation, y_validation = of("validation") if len(order["validation"]) else (None, None)
    return Arrays(
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        x_validation=x_validation,
        y_validation=y_validation,
        class_names=gathered.class_names,
    )


def fingerprint(gathered: Gathered, order: Order) -> str:
    """Return the fingerprint that the dataset will have, see `npas.data.Arrays`."""
    digest = hashlib.sha256()
    present = _present(order)
    for split in ("train", "test", "validation"):
        if split not in present:
            continue
        chosen = order[split]
        digest.update(repr((len(chosen), *gathered.images.shape[1:])).encode())
        for rows in _rows(gathered.images, chosen):
            digest.update(rows.data)
        digest.update(repr(chosen.shape).encode())
        digest.update(gathered.labels[chosen].data)
    return digest.hexdigest()


def _present(order: Order) -> list[Split]:
    """Return the splits of a file: one without images is left out where it may be."""
    return [split for split in order if len(order[split]) or split != "validation"]


def _rows(images: Array, chosen: Array) -> Iterator[Array]:
    step = max(1, _CHUNK // images[:1].nbytes)
    for start in range(0, len(chosen), step):
        yield np.ascontiguousarray(images[chosen[start : start + step]])


def _write(
    archive: zipfile.ZipFile,
    key: str,
    shape: tuple[int, ...],
    dtype: str,
    parts: Iterator[Array],
) -> None:
    entry = zipfile.ZipInfo(f"{key}.npy", date_time=_LONG_AGO)
    with archive.open(entry, "w", force_zip64=True) as file:
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(file, header)
        for part in parts:
            file.write(part.data)
