"""A zip archive, read where it lies: nothing is extracted, every byte is counted."""

import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from npas.data._importing.files import check_names
from npas.data._importing.limits import MIB, ImportLimits, shown_bytes
from npas.data._importing.names import Parts, parts_of
from npas.data._importing.notes import Notes, UnreadableError, shown

_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError),
    *(ValueError, RuntimeError, NotImplementedError, UnicodeError, OverflowError, KeyError),
)
"""What zipfile raises over bytes that are not what they should be."""

_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1


class ZipFiles:
    """The files of an archive, checked by what it says of them before any is read."""

    def __init__(self, path: Path, notes: Notes, limits: ImportLimits) -> None:
        """Open and check.

        Raises:
            DataError: it is damaged, or says of itself what is not allowed.
        """
        self._notes, self._limits = notes, limits
        try:
            self._archive = zipfile.ZipFile(path)
        except _BROKEN as error:
            raise notes.refusal(f"is not a readable zip archive ({error})") from error
        try:
            self._entries = self._checked(path.stat().st_size)
        except BaseException:
            self._archive.close()
            raise

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the archive."""
        self._archive.close()

    def sizes(self) -> Mapping[Parts, int]:
        """Return the bytes that the archive says of each file."""
        return {parts: entry.file_size for parts, entry in self._entries.items()}

    def read(self, parts: Parts) -> bytes:
        """Return what is in a file; see `Files`."""
        entry, most = self._entries[parts], self._limits.max_file_bytes
        if entry.file_size > most:
            raise UnreadableError(f"is larger than {shown_bytes(most)}")
        try:
            with self._archive.open(entry) as file:
                content = file.read(entry.file_size + 1)
        except _BROKEN as error:
            raise UnreadableError(f"is damaged in the archive ({error})") from error
        if len(content) != entry.file_size:
            raise UnreadableError("is not as long as the archive says")
        return content

    def _checked(self, archive_bytes: int) -> dict[Parts, zipfile.ZipInfo]:
        entries, limits = self._archive.infolist(), self._limits
        if len(entries) > limits.max_files:
            raise self._notes.refusal(
                f"holds {len(entries):,} entries; at most {limits.max_files:,}"
            )
        total = sum(entry.file_size for entry in entries)
        if total > limits.max_unpacked_bytes:
            most = shown_bytes(limits.max_unpacked_bytes)
            raise self._notes.refusal(f"unpacks to {shown_bytes(total)}; at most {most}")
        if sum(entry.compress_size for entry in entries) > archive_bytes:
            raise self._notes.refusal("is a zip bomb: its entries lie over each other")
        found: dict[Parts, zipfile.ZipInfo] = {}
        for entry in entries:
            parts = self._check(entry)
            if entry.is_dir():
                continue
            if parts in found:
                raise self._notes.refusal(f"holds {shown(entry.filename)} more than once")
            found[parts] = entry
        check_names(self._notes, {parts: entry.file_size for parts, entry in found.items()})
        return found

    def _check(self, entry: zipfile.ZipInfo) -> Parts:
        """Return the parts of an entry's name, after checking what it says of itself."""
        name = shown(entry.filename)
        try:
            parts = parts_of(entry.orig_filename)
        except ValueError as error:
            raise self._notes.refusal(f"the name {name} {error}") from error
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            what = "a link" if kind == stat.S_IFLNK else "a device"
            raise self._notes.refusal(f"{name} is {what}: pack files alone")
        if entry.flag_bits & _ENCRYPTED:
            raise self._notes.refusal(f"{name} is encrypted: pack it without a password")
        if entry.compress_type not in _PACKINGS:
            raise self._notes.refusal(f"{name} is packed in an unusual way: use plain zip")
        most = self._limits.max_ratio * max(1, entry.compress_size)
        if entry.file_size > MIB and entry.file_size > most:
            raise self._notes.refusal(
                f"{name} is a zip bomb: {shown_bytes(entry.compress_size)} unpack to "
                f"{shown_bytes(entry.file_size)}"
            )
        return parts
