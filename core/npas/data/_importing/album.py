"""Images with their labels, whatever they lie in: what an import goes through."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from npas.data._importing.files import Files
from npas.data._importing.names import Parts
from npas.data._importing.notes import UnreadableError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One image.

    Attributes:
        name: of the file, for people.
        label: name of its class.
        split: where it belongs; None: nobody said.
    """

    name: str
    label: str
    split: Split | None


class Album(Protocol):
    """Images in an order of their own, which can be gone through several times."""

    @property
    def items(self) -> Sequence[Item]:
        """All of them."""

    @property
    def class_names(self) -> Sequence[str] | None:
        """The classes in the order of their labels; None: sorted by name."""

    def contents(self) -> Iterator[bytes | UnreadableError]:
        """Yield the bytes of each image, or why there are none."""


class FileAlbum:
    """Images that are files."""

    class_names = None

    def __init__(self, files: Files, placed: Sequence[tuple[Parts, Item]]) -> None:
        """Remember where images lie.

        Args:
            files: that they are.
            placed: path and what is known of each.
        """
        self._files, self._placed = files, placed
        self.items: Sequence[Item] = [item for _, item in placed]

    def contents(self) -> Iterator[bytes | UnreadableError]:
        """Yield the bytes of each image; see `Album`."""
        for parts, _ in self._placed:
            try:
                yield self._files.read(parts)
            except UnreadableError as error:
                yield error
