"""Reads images in any of the formats, checks them, and makes the one file that jobs read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from npas.data._arrays import Arrays
from npas.data._importing import canonical, duplicates, npz_arrays, splitting
from npas.data._importing import thumbnails as sheet
from npas.data._importing.album import Album, Split
from npas.data._importing.archive import ZipFiles
from npas.data._importing.findings import report_of
from npas.data._importing.folder import FolderFiles
from npas.data._importing.gathering import Gathered, check_classes, gather
from npas.data._importing.layout import laid_out
from npas.data._importing.limits import ImportLimits
from npas.data._importing.notes import Notes
from npas.data._importing.parquet import ParquetAlbum
from npas.data._importing.report import ImportReport
from npas.data._importing.splitting import Order
from npas.spec import ImageOptions

ImportFormat = Literal["npz", "images", "parquet"]

LEAST_OF_A_CLASS = 10
"""Images of each class, of all splits together."""

_LEASTS: dict[Split, int] = {"train": 10, "test": 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """Images that are read, checked and split.

    Attributes:
        gathered: all of them.
        order: which are in each split.
        report: what there is to tell.
    """

    gathered: Gathered
    order: Order
    report: ImportReport

    def arrays(self) -> Arrays:
        """Return them as a dataset has them."""
        return canonical.arrays(self.gathered, self.order)


def import_dataset(
    source: Path,
    target: Path,
    *,
    format: ImportFormat,
    thumbnails: Path | None = None,
    options: ImageOptions | None = None,
    limits: ImportLimits | None = None,
) -> ImportReport:
    """Make one .npz of a source: images of one size, labels, names of classes.

    The same source and options give the same bytes. Nothing of the source is executed, unpickled
    or extracted to the disk.

    Args:
        source: an .npz file; a folder or zip of images; a Parquet file, or a folder of them.
        target: the file to make, replaced if it is there; `npas.data.load(target)` reads it.
        format: what the source is.
        thumbnails: a PNG to make beside it; None: none.
        options: how images become those of a dataset; None: all defaults.
        limits: how much may be read and made; None: the defaults.

    Raises:
        DataError: the source is not what it must be; the message says what to do.
        MissingPackageError: Pillow (extra "images") or PyArrow ("parquet") is needed, and not
            installed.
        OSError: the target cannot be written.
    """
    imported = read_images(source, format=format, options=options, limits=limits)
    canonical.written(imported.gathered, imported.order, target)
    if thumbnails is not None:
        sheet.thumbnails(imported.gathered, imported.order, thumbnails)
    return imported.report


def read_images(
    source: Path,
    *,
    format: ImportFormat,
    options: ImageOptions | None = None,
    limits: ImportLimits | None = None,
) -> Imported:
    """Read, check and split a source; see `import_dataset`."""
    options, limits = options or ImageOptions(), limits or ImportLimits()
    notes, is_npz = Notes(source=source.name), format == "npz"
    if is_npz:
        gathered = npz_arrays.gathered(source, notes, options, limits)
    else:
        with _opened(source, format, notes, limits) as album:
            gathered = gather(album, notes, options, limits)
    check_classes(gathered, notes, least=0 if is_npz else LEAST_OF_A_CLASS)
    content = splitting.digests(gathered)
    order, told = splitting.assigned(gathered, content, options, is_ordered=is_npz)
    found = duplicates.duplicates(gathered, content, order)
    if options.drop_duplicates:
        order = duplicates.without(order, found.spare)
    _check_splits(order, notes)
    report = report_of(gathered, order, found, notes, format=format, splits=told)
    return Imported(gathered=gathered, order=order, report=report)


@contextmanager
def _opened(
    source: Path, format: ImportFormat, notes: Notes, limits: ImportLimits
) -> Iterator[Album]:
    if not source.is_dir() and not source.is_file():
        raise notes.refusal("there is no such file or folder")
    if format == "parquet":
        yield ParquetAlbum(source, notes, limits)
    elif source.is_dir():
        yield laid_out(FolderFiles(source, notes, limits), notes)
    else:
        with ZipFiles(source, notes, limits) as files:
            yield laid_out(files, notes)


def _check_splits(order: Order, notes: Notes) -> None:
    for split, least in _LEASTS.items():
        if (count := len(order[split])) < least:
            raise notes.refusal(f"has {count} {split} images; at least {least} are needed")
