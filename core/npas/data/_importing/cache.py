"""Imports that were made before: kept in the data folder, so that no image is decoded twice.

A file is good for as long as names, sizes and times of the source's files are what they were.
Where the data folder cannot be written, images are read anew each time.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from npas.data._arrays import Arrays, Facts, bad
from npas.data._importing.importer import ImportFormat, import_dataset, read_images
from npas.data._importing.report import ImportReport
from npas.data._npz import read_npz
from npas.errors import DataError
from npas.spec import ImageOptions

FOLDER = ".imported"
"""In the data folder."""

_VERSION = 1
"""Of what imports make: another one makes all of them anew."""


class Cached:
    """One source and how it is read."""

    def __init__(
        self, source: Path, folder: Path, *, format: ImportFormat, options: ImageOptions
    ) -> None:
        """Look at the source; nothing is read.

        Args:
            source: the images.
            folder: data folder.
            format: of the source.
            options: how its images become those of a dataset.

        Raises:
            DataError: files cannot be looked at.
        """
        self._source, self._format, self._options = source, format, options
        self._folder = folder / FOLDER
        try:
            state = _digest(f"{_VERSION} {format}", *_states(source))
        except OSError as error:
            raise bad(source, f"cannot be looked at ({error.strerror})") from error
        asked = _digest(options.model_dump_json())
        self._name = source.stem if source.is_file() else source.name
        self._stem = f"{self._name}-{state}"
        self._file = self._folder / f"{self._stem}-{asked}.npz"

    @property
    def is_made(self) -> bool:
        """Whether it was imported before."""
        return self._file.is_file() and self._told.is_file()

    def arrays(self) -> Arrays:
        """Return the images, imported now if they were not before.

        Raises:
            DataError: the source is not what it must be.
        """
        if self.is_made or self._make():
            try:
                return replace(read_npz(self._file), origin=self.report().model_dump(mode="json"))
            except DataError:
                self._file.unlink(missing_ok=True)  # damaged: it is made anew
        imported = read_images(self._source, format=self._format, options=self._options)
        return replace(imported.arrays(), origin=imported.report.model_dump(mode="json"))

    def report(self) -> ImportReport:
        """Return what the import told, after importing if nobody has.

        Raises:
            DataError: the source is not what it must be.
        """
        if self.is_made or self._make():
            try:
                return ImportReport.model_validate_json(self._told.read_bytes())
            except ValueError:
                self._told.unlink(missing_ok=True)  # damaged, likewise
        return read_images(self._source, format=self._format, options=self._options).report

    def facts(self) -> Facts:
        """Return the facts; see `report`."""
        return Facts(**self.report().facts)

    @property
    def _told(self) -> Path:
        return self._file.with_suffix(".json")

    def _make(self) -> bool:
        """Import; return whether the file could be kept."""
        try:
            self._folder.mkdir(exist_ok=True)
            report = import_dataset(
                self._source, self._file, format=self._format, options=self._options
            )
            partial = self._told.with_suffix(f".{os.getpid()}")
            partial.write_text(report.model_dump_json(), "utf-8")
            partial.replace(self._told)
        except OSError:
            return False
        self._forget_others()
        return True

    def _forget_others(self) -> None:
        """Remove what was made of the source as it was before."""
        for path in self._folder.glob(f"{self._name}-*"):
            is_of_it = path.stem.count("-") == self._name.count("-") + 2
            if is_of_it and not path.name.startswith(f"{self._stem}-"):
                path.unlink(missing_ok=True)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _states(source: Path) -> Iterator[str]:
    """Yield name, size and time of each file."""
    if not source.is_dir():
        status = source.stat()
        yield f"{status.st_size} {status.st_mtime_ns}"
        return
    for above, folders, files in os.walk(source):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(above, name)
            status = os.lstat(path) if os.path.islink(path) else os.stat(path)
            yield f"{os.path.relpath(path, source)} {status.st_size} {status.st_mtime_ns}"
