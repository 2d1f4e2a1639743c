"""What a source of files offers, be it a folder or an archive."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from npas.data._importing import names
from npas.data._importing.names import Parts
from npas.data._importing.notes import Notes, shown, some_of


class Files(Protocol):
    """Files by their paths below the source; nothing is written anywhere."""

    def sizes(self) -> Mapping[Parts, int]:
        """Return the bytes of each file, all names checked."""

    def read(self, parts: Parts) -> bytes:
        """Return what is in a file.

        Raises:
            UnreadableError: it is damaged, or larger than it may be.
        """


def check_names(notes: Notes, paths: Mapping[Parts, int]) -> None:
    """Refuse names that some systems take for one.

    Raises:
        DataError: two differ only in the case of their letters.
    """
    pair = names.same_but_for_case("/".join(parts) for parts in paths)
    if pair is not None:
        raise notes.refusal(
            f"{shown(pair[0])} and {shown(pair[1])} differ only in the case of letters: rename one"
        )


def sorted_out(notes: Notes, paths: Iterable[Parts]) -> list[Parts]:
    """Return the images among the files, sorted; note what is left out."""
    images: list[Parts] = []
    archives: list[str] = []
    others: list[str] = []
    for parts in sorted(paths):
        kind = names.suffix(parts)
        if names.is_litter(parts):
            continue
        if kind in names.IMAGES:
            images.append(parts)
        elif kind in names.OTHER_IMAGES:
            notes.skip("/".join(parts), f"{kind} is not read; save it as PNG or JPEG")
        else:
            (archives if kind in names.ARCHIVES else others).append("/".join(parts))
    if archives:
        notes.warnings.append(f"archives inside are not opened: {some_of(archives)}")
    if others:
        notes.warnings.append(f"files that are no images are left out: {some_of(others)}")
    notes.ignored += [shown(name) for name in (*archives, *others)]
    return images
