"""Image files of your own: "images:NAME" is a folder, a zip or Parquet in the data folder."""

import re
from pathlib import Path

from npas.data._arrays import Arrays, Facts
from npas.data._importing.cache import FOLDER, Cached
from npas.data._importing.importer import ImportFormat
from npas.data._importing.parquet import parquet_files
from npas.data._importing.report import ImportReport
from npas.data._source import Source
from npas.errors import DataError
from npas.spec import ImageOptions

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

_SUFFIXES = ("", ".zip", ".parquet")


def format_of(source: Path) -> ImportFormat:
    """Return what a file or folder is, by its name and those in it."""
    if source.is_dir():
        return "parquet" if parquet_files(source) else "images"
    kinds: dict[str, ImportFormat] = {".npz": "npz", ".parquet": "parquet"}
    return kinds.get(source.suffix.lower(), "images")


def report(folder: Path, name: str, options: ImageOptions | None = None) -> ImportReport:
    """Import images of the data folder, if that was not done before, and return what was found.

    Args:
        folder: data folder.
        name: what follows the colon.
        options: how they become those of a dataset; None: all defaults.

    Raises:
        DataError: there are none of this name, or they are not what they must be.
    """
    return _cached(folder, name, options or ImageOptions()).report()


def _source(folder: Path, name: str) -> Path:
    """Return the file or folder of a name; names come from clients, so they are never paths."""
    if not _NAME.fullmatch(name):
        raise DataError(
            f"dataset images:{name} is not a name: write images:NAME for NAME, NAME.zip or "
            "NAME.parquet in the data folder, NAME up to 64 letters, digits, - _ and ., starting "
            "with a letter or digit",
            field="/dataset",
        )
    found = [path for suffix in _SUFFIXES if (path := folder / f"{name}{suffix}").exists()]
    if not found:
        raise DataError(
            f"dataset images:{name}: put a folder {name}, {name}.zip or {name}.parquet in the "
            "data folder (python -m npas.data says where that is)",
            field="/dataset",
        )
    if len(found) > 1:
        raise DataError(
            f"dataset images:{name} may be {found[0].name} or {found[1].name}: name one in full, "
            f"or rename it (images:{found[1].name})",
            field="/dataset",
        )
    return found[0]


def _cached(folder: Path, name: str, options: ImageOptions) -> Cached:
    source = _source(folder, name)
    return Cached(source, folder, format=format_of(source), options=options)


def _is_present(folder: Path, name: str) -> bool:
    return any((folder / f"{name}{suffix}").exists() for suffix in _SUFFIXES)


def _listed(folder: Path) -> list[str]:
    """Return those that were imported and have not changed since: others would take long."""
    made = {path.stem.rsplit("-", 2)[0] for path in (folder / FOLDER).glob("*.json")}
    return [name for name in sorted(made) if _is_listed(folder, name)]


def _is_listed(folder: Path, name: str) -> bool:
    try:
        return _cached(folder, name, ImageOptions()).is_made
    except (DataError, OSError):
        return False  # gone, or of two kinds now


def _with_options(options: ImageOptions) -> Source:
    def read(folder: Path, name: str) -> Arrays:
        return _cached(folder, name, options).arrays()

    def facts(folder: Path, name: str) -> Facts:
        return _cached(folder, name, options).facts()

    return Source(
        title="Images of your own",
        facts=facts,
        read=read,
        present=_is_present,
        listed=_listed,
        how=(
            "a folder or zip in the data folder: CLASS/*, or train/CLASS/*, val/CLASS/*, "
            "test/CLASS/*, or images beside labels.csv; or Parquet"
        ),
        crop_padding=0,  # nothing is known of the images, so nothing is done to them
        flip=False,
        with_options=_with_options,
    )


SOURCE = _with_options(ImageOptions())
