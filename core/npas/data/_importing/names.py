"""Names of files, as archives and tables give them: never a way out of the folder."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

IMAGES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"}
)
"""Suffixes of images that are read."""

OTHER_IMAGES = frozenset(
    {".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".ico", ".psd", ".svg", ".tga", ".exr"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".dng", ".cr2", ".nef", ".arw", ".dcm", ".eps", ".pcx"}
)
"""Suffixes of images that are not read: they are missed, not ignored."""

ARCHIVES = frozenset(
    {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst", ".lz4", ".cab", ".iso"}
)

_LITTER = frozenset({"__macosx", "thumbs.db", "desktop.ini", ".ds_store", "@eadir"})
_DRIVE = re.compile(r"^[A-Za-z]:")
_MAX_LENGTH, _MAX_DEPTH = 1_000, 32

Parts = tuple[str, ...]
"""A path below the source, folder by folder."""


def parts_of(name: str) -> Parts:
    """Return the parts of a path; backslashes, which some programs write, part them as well.

    Raises:
        ValueError: it is absolute, leads out of the source, or is no name; the message says which.
    """
    path = name.replace("\\", "/")
    if len(path) > _MAX_LENGTH or path.count("/") >= _MAX_DEPTH:
        raise ValueError(f"is longer than {_MAX_LENGTH} letters or deeper than {_MAX_DEPTH}")
    if path.startswith("/") or _DRIVE.match(path):
        raise ValueError("is absolute; names must lie below the source")
    parts = PurePosixPath(path).parts  # without single dots
    if ".." in parts:
        raise ValueError("leads out of the source by '..'")
    if not parts or any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
        raise ValueError("is empty or has control characters")
    return parts


def is_litter(parts: Parts) -> bool:
    """Return whether a file is one that systems leave behind, or hidden."""
    return any(part.startswith(".") or part.casefold() in _LITTER for part in parts)


def suffix(parts: Parts) -> str:
    """Return the suffix of a file, in small letters."""
    return PurePosixPath(parts[-1]).suffix.lower()


def same_but_for_case(names: Iterable[str]) -> tuple[str, str] | None:
    """Return two names that some systems take for one, None where all differ."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other is not name:
            return other, name
    return None


def class_name(text: str) -> str:
    """Return the name of a class in one spelling: systems write accents in two ways."""
    return unicodedata.normalize("NFC", text.strip())


def sorted_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Return each class once, in the order of their labels: by name, numbers by their value."""
    distinct = set(names)
    if all(name.isascii() and name.isdigit() and len(name) < 10 for name in distinct):
        return tuple(sorted(distinct, key=lambda name: (int(name), name)))
    return tuple(sorted(distinct))
