"""Deletes files and folders, and counts what that freed; what is gone already is no error."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, kw_only=True, slots=True)
class Freed:
    """What is no longer on the disk; bytes that have another name are not free."""

    files: int = 0
    bytes: int = 0

    def __add__(self, other: Self) -> "Freed":
        return Freed(files=self.files + other.files, bytes=self.bytes + other.bytes)


def remove_file(file: Path) -> Freed:
    """Delete a file.

    Raises:
        OSError: it cannot be deleted.
    """
    try:
        found = file.lstat()
        file.unlink()
    except FileNotFoundError:
        return Freed()
    return Freed(files=1, bytes=found.st_size if found.st_nlink == 1 else 0)


def remove_folder(folder: Path, *, but: Path | None = None) -> Freed:
    """Delete a folder with all that is in it.

    A file with several names in it is free when the last of them goes.

    Args:
        folder: may be gone already, or go at the same time.
        but: file in it that is kept, and the folders that it lies in.

    Raises:
        OSError: something cannot be deleted.
    """
    freed = Freed()
    kept = () if but is None else (but, *but.parents)
    for place, folders, files in os.walk(folder, topdown=False, onerror=_unless_gone):
        inner = [Path(place, name) for name in folders]
        links = [path for path in inner if path.is_symlink()]
        for file in (*(Path(place, name) for name in files), *links):
            freed += Freed() if file in kept else remove_file(file)
        for path in inner:
            if path not in kept and path not in links:
                _remove_empty(path)
    if folder not in kept:
        _remove_empty(folder)
    return freed


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def is_young(folder: Path, seconds: float) -> bool:
    """Tell whether a folder was changed less than so many seconds ago; so if it is gone."""
    try:
        return time.time() - folder.stat().st_mtime < seconds
    except FileNotFoundError:
        return True
