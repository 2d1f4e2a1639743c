"""A folder of files on this machine."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from npas.data._importing.files import check_names
from npas.data._importing.limits import ImportLimits, shown_bytes
from npas.data._importing.names import Parts, parts_of
from npas.data._importing.notes import Notes, UnreadableError, shown


class FolderFiles:
    """The files below a folder. Links are followed as long as they stay in it."""

    def __init__(self, path: Path, notes: Notes, limits: ImportLimits) -> None:
        """List.

        Raises:
            DataError: a link leads out, something is no file, or there are too many.
        """
        self._root, self._notes, self._limits = path.resolve(), notes, limits
        self._sizes: dict[Parts, int] = {}
        for parts, size in self._walk(self._root, ()):
            self._sizes[parts] = size
            if len(self._sizes) > limits.max_files:
                raise notes.refusal(f"holds more than {limits.max_files:,} files")
        check_names(notes, self._sizes)

    def sizes(self) -> Mapping[Parts, int]:
        """Return the bytes of each file."""
        return self._sizes

    def read(self, parts: Parts) -> bytes:
        """Return what is in a file; see `Files`."""
        most = self._limits.max_file_bytes
        try:
            with self._root.joinpath(*parts).open("rb") as file:
                content = file.read(most + 1)
        except OSError as error:
            raise UnreadableError(error.strerror or "cannot be opened") from error
        if len(content) > most:
            raise UnreadableError(f"is larger than {shown_bytes(most)}")
        return content

    def _walk(self, folder: Path, above: Parts) -> Iterator[tuple[Parts, int]]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise self._notes.refusal(f"{shown('/'.join(above))}: {error.strerror}") from error
        for entry in entries:
            parts = (*above, entry.name)
            name = shown("/".join(parts))
            try:
                parts_of("/".join(parts))
            except ValueError as error:
                raise self._notes.refusal(f"the name {name} {error}") from error
            if entry.is_symlink():
                self._check_link(Path(entry.path), name)
            if entry.is_dir():
                yield from self._walk(Path(entry.path), parts)
            elif entry.is_file():
                yield parts, entry.stat().st_size
            else:
                raise self._notes.refusal(f"{name} is neither a file nor a folder")

    def _check_link(self, link: Path, name: str) -> None:
        target = link.resolve()
        if not target.is_relative_to(self._root):
            raise self._notes.refusal(
                f"{name} is a link that leads out of the folder: copy what it points to"
            )
        if target.is_dir():
            raise self._notes.refusal(f"{name} is a link to a folder, which is not followed")
