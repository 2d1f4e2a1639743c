"""Images whose class is said by tables that lie beside them."""

from collections.abc import Callable, Iterable, Sequence

from npas.data._importing import names, tables
from npas.data._importing.album import Item, Split
from npas.data._importing.files import Files, sorted_out
from npas.data._importing.names import Parts
from npas.data._importing.notes import Notes, UnreadableError, shown, some_of
from npas.data._importing.tables import Row

SplitOf = Callable[[str], Split | None]
Placed = dict[Parts, Item]


def by_tables(
    files: Files, paths: Sequence[Parts], notes: Notes, split_of: SplitOf
) -> list[tuple[Parts, Item]] | None:
    """Return the images that tables name, None where no table says classes.

    Args:
        files: with the tables and the images.
        paths: of the tables.
        notes: of the import.
        split_of: the split that a word stands for.

    Raises:
        DataError: a table cannot be read, contradicts itself or another, or leads out.
    """
    placed: Placed = {}
    said = 0
    for path in paths:
        name = "/".join(path)
        beside = [other for other in paths if other[:-1] == path[:-1] and other != path]
        if beside:
            raise notes.refusal(f"{name} and {'/'.join(beside[0])} lie side by side: keep one")
        rows = tables.rows_of(_content(files, path, notes), name, notes)
        if rows is None:
            notes.warnings.append(f"{shown(name)} says no classes: it has no columns file, label")
            continue
        said += 1
        _place(rows, path, placed, files, notes, split_of)
    if not said:
        return None
    _check_splits(placed.values(), notes)
    others = set(files.sizes()) - placed.keys() - set(paths)
    missed = sorted_out(notes, sorted(others))
    if missed:
        notes.warnings.append(
            f"images that no table names are left out: {some_of('/'.join(p) for p in missed)}"
        )
    return sorted(placed.items())


def _content(files: Files, path: Parts, notes: Notes) -> bytes:
    try:
        return files.read(path)
    except UnreadableError as error:
        raise notes.refusal(f"{shown('/'.join(path))} {error}") from error


def _place(
    rows: Iterable[Row],
    table: Parts,
    placed: Placed,
    files: Files,
    notes: Notes,
    split_of: SplitOf,
) -> None:
    """Find the image of each row of one table."""
    folder, sizes = table[:-1], files.sizes()
    for row in rows:
        where = f"{shown('/'.join(table))}, line {row.number}"
        try:
            path = (*folder, *names.parts_of(row.file))
        except ValueError as error:
            raise notes.refusal(f"{where}: the name {shown(row.file)} {error}") from error
        split = split_of(row.split)
        if row.split and split is None:
            raise notes.refusal(
                f"{where}: no split {shown(row.split)!r}; write train, validation or test"
            )
        above = [split_of(part) for part in path[:-1]]
        item = Item(
            name="/".join(path),
            label=names.class_name(row.label),
            split=split or next((each for each in above if each is not None), None),
        )
        if path not in sizes:
            notes.skip(item.name, f"is in {'/'.join(table)}, but not there")
        elif placed.setdefault(path, item) != item:
            raise notes.refusal(f"{where}: {shown(item.name)} has another label or split before")


def _check_splits(items: Iterable[Item], notes: Notes) -> None:
    torn = [item.name for item in items if item.split is None]
    if torn and len(torn) < len(list(items)):
        raise notes.refusal(f"images without a split, where others have one: {some_of(torn)}")
