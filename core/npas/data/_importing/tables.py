"""Tables that say the class, and perhaps the split, of images: labels.csv, metadata.csv or .jsonl.

Columns are `file` or `file_name`, `label`, and `split` where there is one; others do not matter.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from npas.data._importing.notes import Notes, shown

TABLES = ("labels.csv", "metadata.csv", "metadata.jsonl")

_COLUMNS = {
    "file": ("file", "file_name", "filename", "image", "path"),
    "label": ("label", "class"),
    "split": ("split", "set"),
}
"""What each column may be called; the first that is there counts."""

_DELIMITERS = ",;\t"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of a table.

    Attributes:
        number: of the line, from 1.
        file: as it is written.
        label: name of a class.
        split: a word, "" where there is none.
    """

    number: int
    file: str
    label: str
    split: str


def rows_of(content: bytes, name: str, notes: Notes) -> list[Row] | None:
    """Return the rows of a table; None where it does not say classes.

    Raises:
        DataError: it cannot be read, or a row has no file or no label.
    """
    try:
        text = content.decode("utf-8-sig")
        is_csv = name.lower().endswith(".csv")
        records = list(_of_csv(text) if is_csv else _of_jsonl(text))
    except (ValueError, csv.Error, RecursionError) as error:
        said = " ".join(str(error).split())[:100]
        raise notes.refusal(f"{shown(name)} cannot be read ({said}); write it as UTF-8") from error
    columns = {key for _, record in records[:1] for key in record}
    found = {what: _first(names, columns) for what, names in _COLUMNS.items()}
    if records and (found["file"] is None or found["label"] is None):
        return None
    return [_row(number, record, found, name, notes) for number, record in records]


def _first(names: tuple[str, ...], columns: set[str]) -> str | None:
    return next((name for name in names if name in columns), None)


def _of_csv(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names = [name.strip().lower() for name in next(reader, [])]
    for record in reader:
        if record:
            yield reader.line_num, dict(zip(names, record, strict=False))


def _of_jsonl(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError(f"line {number} is no object")
            yield number, {str(key).lower(): value for key, value in record.items()}


def _row(
    number: int,
    record: Mapping[str, Any],
    found: Mapping[str, str | None],
    name: str,
    notes: Notes,
) -> Row:
    file, label, split = (
        _text(record.get(found[what] or "")) for what in ("file", "label", "split")
    )
    if not file or not label:
        raise notes.refusal(f"{shown(name)}, line {number}: no {'label' if file else 'file'}")
    return Row(number=number, file=file, label=label, split=split)


def _text(value: Any) -> str:
    """Return a text or a whole number as text; all else is no name."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else ""
