"""Which class and split an image is of, by where it lies or by a table beside it.

Known are `CLASS/*`; `train|training/CLASS/*` with `val|valid|validation/` and `test|testing/`
beside it; and images with a table (`tables`), one for all or one in each split's folder. Folders
around it all that hold nothing else do not matter.
"""

from collections.abc import Sequence

from npas.data._importing import names, tabled
from npas.data._importing.album import FileAlbum, Item, Split
from npas.data._importing.files import Files, sorted_out
from npas.data._importing.names import Parts
from npas.data._importing.notes import Notes, some_of
from npas.data._importing.tables import TABLES

SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""Names of folders, and in tables, in any case of letters."""

_ADVICE = (
    "put the images of a class into a folder of its name: CLASS/*, or train/CLASS/* and "
    "test/CLASS/*; or write labels.csv (file,label) beside them"
)


def laid_out(files: Files, notes: Notes) -> FileAlbum:
    """Find the class and the split of every image.

    Raises:
        DataError: the layout is none of those that are known.
    """
    paths = [parts for parts in files.sizes() if not names.is_litter(parts)]
    depth = _around(paths)
    tables = [parts for parts in paths if _is_table(parts, depth)]
    placed = tabled.by_tables(files, tables, notes, split_of) if tables else None
    if placed is None:
        placed = _by_folder(sorted_out(notes, paths), depth, notes)
    return FileAlbum(files, placed)


def split_of(name: str) -> Split | None:
    """Return the split that a folder's name, or a word in a table, stands for."""
    return SPLIT_FOLDERS.get(name.strip().casefold())


def _around(paths: Sequence[Parts]) -> int:
    """Return how many folders all files lie in that mean nothing."""
    depth = 0
    while paths:
        inside = {parts[depth] for parts in paths}
        is_lone_folder = len(inside) == 1 and all(len(parts) > depth + 1 for parts in paths)
        if not is_lone_folder or split_of(next(iter(inside))) is not None:
            break
        is_deeper = any(len(parts) > depth + 2 for parts in paths)
        if not is_deeper and not any(_is_table(parts, depth + 1) for parts in paths):
            break  # a class of its own, and the only one
        depth += 1
    return depth


def _is_table(parts: Parts, depth: int) -> bool:
    """Return whether a file is a table of all images, or of those of a split."""
    is_there = len(parts) == depth + 1 or (
        len(parts) == depth + 2 and split_of(parts[depth]) is not None
    )
    return is_there and parts[-1].lower() in TABLES


def _by_folder(images: Sequence[Parts], depth: int, notes: Notes) -> list[tuple[Parts, Item]]:
    """Return images with the class that the folder says."""
    tops = {parts[depth] for parts in images if len(parts) > depth + 1}
    loose = ["/".join(parts) for parts in images if len(parts) == depth + 1]
    if loose:
        raise notes.refusal(f"{len(loose)} images lie in no folder: {some_of(loose)}; {_ADVICE}")
    splits = {name for name in tops if split_of(name) is not None}
    if any(split_of(name) == "train" for name in splits):
        if splits != tops:
            raise notes.refusal(
                f"folders of splits and others lie side by side: {some_of(sorted(tops))}; "
                + _ADVICE
            )
        return _in_splits(images, depth, notes)
    if splits and splits == tops:
        raise notes.refusal(f"holds {some_of(sorted(tops))}, but no images to train on")
    return [(parts, _item(parts, parts[depth], None)) for parts in images]


def _in_splits(images: Sequence[Parts], depth: int, notes: Notes) -> list[tuple[Parts, Item]]:
    loose = ["/".join(parts) for parts in images if len(parts) == depth + 2]
    if loose:
        raise notes.refusal(
            f"{len(loose)} images lie in the folder of a split, in none of a class: "
            f"{some_of(loose)}; {_ADVICE}"
        )
    return [(parts, _item(parts, parts[depth + 1], split_of(parts[depth]))) for parts in images]


def _item(parts: Parts, label: str, split: Split | None) -> Item:
    return Item(name="/".join(parts), label=names.class_name(label), split=split)
