"""Images in Parquet, as Hugging Face lays them out: a column of images, one of labels."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npas import registry
from npas.data._importing.album import Item, Split
from npas.data._importing.layout import split_of
from npas.data._importing.limits import ImportLimits, shown_bytes
from npas.data._importing.names import class_name
from npas.data._importing.notes import Notes, UnreadableError, shown

_IMAGES, _LABELS, _SPLITS = ("image", "img"), ("label", "labels", "class"), ("split",)
_ROWS = 64
"""Rows that are in memory at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Columns:
    """Where things are in one file: names of columns, None of those that are not there."""

    content: str
    path: str | None
    label: str
    split: str | None


class ParquetAlbum:
    """Images of one or several Parquet files, row by row."""

    def __init__(self, source: Path, notes: Notes, limits: ImportLimits) -> None:
        """Read the labels of all files, no images.

        Args:
            source: a file, or a folder of `train-*.parquet`, `test-*.parquet` and the like.
            notes: of the import.
            limits: of the import.

        Raises:
            DataError: a file is damaged, too large, or has no columns of images and labels.
            MissingPackageError: PyArrow is not installed.
        """
        self._notes, self._limits = notes, limits
        self._library = registry.imported("pyarrow.parquet", extra="parquet")
        self._errors = (registry.imported("pyarrow", extra="parquet").ArrowException, *_BROKEN)
        self.class_names: Sequence[str] | None = None
        self._files = parquet_files(source)
        if not self._files:
            raise notes.refusal("holds no .parquet files")
        self.items: list[Item] = []
        for path in self._files:
            self.items += self._listed(path)
            if len(self.items) > limits.max_files:
                raise notes.refusal(f"holds more than {limits.max_files:,} images")

    def contents(self) -> Iterator[bytes | UnreadableError]:
        """Yield the bytes of each image; see `Album`."""
        for path in self._files:
            for content in self._column(path, self._columns(path).content):
                if content is None:
                    yield UnreadableError("has no bytes")
                elif len(content) > self._limits.max_file_bytes:
                    most = shown_bytes(self._limits.max_file_bytes)
                    yield UnreadableError(f"is larger than {most}")
                else:
                    yield content

    def _listed(self, path: Path) -> Iterator[Item]:
        columns = self._columns(path)
        names = self._names(path, columns.label)
        by_name = split_of(path.stem.replace("_", "-").partition("-")[0])
        labels = self._column(path, columns.label)
        splits = self._column(path, columns.split) if columns.split else None
        paths = self._column(path, columns.path) if columns.path else None
        for row, label in enumerate(labels):
            given = next(paths) if paths else None
            name = str(given) if given else f"{path.name}[{row}]"
            split = by_name if splits is None else self._split(next(splits), path, row)
            yield Item(name=name, label=self._label(label, names, path, row), split=split)

    def _columns(self, path: Path) -> _Columns:
        """Find the columns of one file, after checking how large it says it is."""
        try:
            file = self._library.ParquetFile(path)
            with file:
                total = sum(
                    file.metadata.row_group(group).total_byte_size
                    for group in range(file.metadata.num_row_groups)
                )
                leaves = {leaf.path: str(leaf.physical_type) for leaf in file.schema}
        except self._errors as error:
            raise self._damaged(path, error) from error
        if total > self._limits.max_unpacked_bytes:
            most = shown_bytes(self._limits.max_unpacked_bytes)
            raise self._notes.refusal(
                f"{path.name} unpacks to {shown_bytes(total)}; at most {most}"
            )
        content = _first((*(f"{name}.bytes" for name in _IMAGES), *_IMAGES), leaves)
        label = _first(_LABELS, leaves)
        if content is None or label is None or leaves[content] != "BYTE_ARRAY":
            raise self._notes.refusal(
                f"{path.name} needs a column image (bytes, or a struct of bytes and path) and a "
                f"column label; it has {', '.join(sorted(map(shown, leaves))[:8])}"
            )
        name = f"{content.removesuffix('.bytes')}.path"
        return _Columns(
            content=content,
            path=name if name in leaves else None,
            label=label,
            split=_first(_SPLITS, leaves),
        )

    def _column(self, path: Path, name: str) -> Iterator[Any]:
        """Yield the values of one column, a few rows in memory at a time."""
        try:
            with self._library.ParquetFile(path) as file:
                batches = file.iter_batches(batch_size=_ROWS, columns=[name], use_threads=False)
                for batch in batches:
                    column = batch.column(0)
                    values = column.to_pylist()
                    inner = name.partition(".")[2]
                    yield from (
                        value.get(inner) if inner and value is not None else value
                        for value in values
                    )
        except self._errors as error:
            raise self._damaged(path, error) from error

    def _names(self, path: Path, label: str) -> list[str] | None:
        """Return the names of classes that Hugging Face wrote into the file, if it did."""
        with self._library.ParquetFile(path) as file:
            said = (file.schema_arrow.metadata or {}).get(b"huggingface")
        try:
            names = json.loads(said)["info"]["features"][label]["names"] if said else None
        except (ValueError, LookupError, TypeError, RecursionError):
            return None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return None
        if self.class_names not in (None, names):
            raise self._notes.refusal(f"{path.name} has other names of classes than the others")
        self.class_names = names
        return names

    def _label(self, value: Any, names: list[str] | None, path: Path, row: int) -> str:
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if is_number and names is not None and 0 <= value < len(names):
            return str(names[value])
        if is_number and names is None and value >= 0:
            return str(value)
        if isinstance(value, str) and class_name(value) and (names is None or value in names):
            return value if names is not None else class_name(value)
        raise self._notes.refusal(
            f"{path.name}, row {row}: {shown(repr(value))} is no label; give a text, or a number "
            f"{f'below {len(names)}' if names else 'from 0'}"
        )

    def _split(self, value: Any, path: Path, row: int) -> Split:
        split = split_of(value) if isinstance(value, str) else None
        if split is None:
            raise self._notes.refusal(
                f"{path.name}, row {row}: no split {shown(repr(value))}; write train, validation "
                "or test"
            )
        return split

    def _damaged(self, path: Path, error: BaseException) -> Exception:
        said = " ".join(str(error).split())[:100]
        return self._notes.refusal(f"{shown(path.name)} is not a readable Parquet file ({said})")


_BROKEN = (OSError, ValueError, TypeError, LookupError, OverflowError, MemoryError)
"""What PyArrow raises beside its own errors over bytes that are not what they should be."""


def parquet_files(source: Path) -> list[Path]:
    """Return the Parquet files of a source: itself, or those in a folder or in its `data`."""
    if source.is_file():
        return [source]
    found = sorted(source.glob("*.parquet")) or sorted(source.glob("data/*.parquet"))
    return [path for path in found if path.is_file() and not path.name.startswith(".")]


def _first(names: Sequence[str], columns: dict[str, str]) -> str | None:
    return next((name for name in names if name in columns), None)
