"""The file: one safetensors file of coded streams, with all that is known of them in one more."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import safe_open
from torch import Tensor

from npas import tensor_file
from npas.delivery.coded.grid import MOST_DIGITS, Grid
from npas.delivery.coded.layout import FLOAT_HEAD, Table, laid_out, taken_out
from npas.delivery.coded.streams import packed, unpacked
from npas.errors import CheckpointError

FORMAT = "npas-coded-1"

KEY = "npas"
"""Of the metadata, as in a file that is not coded."""

_ABOUT = "about"
_MOST_ABOUT = 16 << 20
"""Bytes of plan, table and what lies beside them; the largest plan takes less than half of it.

Read as JSON they may take fifteen times as much memory.
"""

_FREE_ABOUT, _ABOUT_PER_BYTE = 1 << 20, 256
"""Bytes of them in any file, and for each byte that they are coded in: plans are coded in 1/60 or
more of their length."""

_CONTENT_PER_BYTE = 64
"""Bytes of decoded streams in a file, for each of its own: the coarsest grid puts 26 codes of one
byte into each."""

_DIGEST_LENGTH = 32
_METADATA = {KEY: json.dumps({"format": FORMAT})}


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """A network as it goes into a file.

    Attributes:
        table: of its tensors.
        streams: of its tensors, coded.
    """

    table: Table
    streams: Mapping[str, bytes]

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], grid: Grid) -> "Content":
        """Round a network and code it.

        Args:
            tensors: its state.
            grid: what it is rounded to.

        Raises:
            CheckpointError: it holds what is no number, or no stream holds.
            MissingPackageError: brotli is not installed.
        """
        return cls._packed(*laid_out(tensors, grid))

    @classmethod
    def of_rounded(cls, tensors: Mapping[str, Tensor], grid: Grid) -> "Content | None":
        """Code a network that is rounded already; None where a grid would change it.

        Args:
            tensors: its state.
            grid: of the file that it was read from.

        Raises:
            MissingPackageError: brotli is not installed.
        """
        try:
            table, streams = laid_out(tensors, grid)
        except CheckpointError:  # it is no number any more, or far away from where it was
            return None
        for name, read in taken_out(table, streams).items():
            mine = tensors[name].detach().cpu()
            if read.dtype != mine.dtype or not torch.equal(read, mine):
                return None
        return cls._packed(table, streams)

    @classmethod
    def _packed(cls, table: Table, streams: Mapping[str, bytes]) -> "Content":
        return cls(table=table, streams={n: packed(s) for n, s in streams.items() if s})

    def parts(self, note: Mapping[str, Any]) -> dict[str, bytes]:
        """Return all streams of the file, the one that tells of the others first.

        Args:
            note: the plan and what lies beside it, JSON.

        Raises:
            CheckpointError: no reader would expand that much.
        """
        about = {**note, "tensors": self.table.to_json()}
        about["digest"] = _digest(about, self.streams)
        content = _text(about).encode()
        coded = packed(content)
        if len(content) > (most := _most_about(coded)):
            raise CheckpointError(
                f"plan and extra are {len(content):,} bytes of JSON that repeats itself; beside "
                f"coded weights at most {most:,} can be read again: keep less in extra"
            )
        return {_ABOUT: coded, **self.streams}

    def num_bytes(self, note: Mapping[str, Any]) -> int:
        """Return the bytes of the file, exactly."""
        return _num_bytes(self.parts(note))

    def write(self, note: Mapping[str, Any], path: Path) -> None:
        """Write the file, in one step.

        Raises:
            CheckpointError: no reader would expand that much.
            OSError: the disk is full, or the folder is not there or cannot be written.
        """
        parts = self.parts(note)
        _check_expansion(self.table, _num_bytes(parts))
        tensors = {n: torch.frombuffer(bytearray(p), dtype=torch.uint8) for n, p in parts.items()}
        tensor_file.write(tensors, path, _METADATA)


@dataclass(frozen=True, kw_only=True, slots=True)
class CodedFile:
    """A file that was opened; its tensors are decoded when they are asked for.

    Attributes:
        note: the plan and what lies beside it.
        table: of the tensors.
        streams: coded.
    """

    note: Mapping[str, Any]
    table: Table
    streams: Mapping[str, bytes]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "CodedFile":
        """Open a file.

        Raises:
            CheckpointError: it is damaged, or announces more than a file of its size can hold.
            MissingPackageError: brotli is not installed.
        """
        with safe_open(path, framework="np") as file:
            parts = {name: _bytes_of(file, name) for name in file.keys()}  # noqa: SIM118
        about = parts.pop(_ABOUT, b"")
        note = json.loads(unpacked(about, most=_most_about(about)))
        if not isinstance(note, dict):
            raise CheckpointError("what it tells of its network is no table")
        digest = note.pop("digest", None)
        if digest != _digest(note, parts):
            raise CheckpointError(
                "it is damaged: it was changed after it was written; take another copy"
            )
        try:
            table = Table.of_json(note.pop("tensors"))
        except ValidationError as error:
            raise CheckpointError(f"its table cannot be read: {error.errors()[0]}") from error
        _check_expansion(table, Path(path).stat().st_size)
        return cls(note=note, table=table, streams=parts)

    def grid(self) -> Grid:
        """Return what the network was rounded to; of digits, as many as the file has room for."""
        steps = {row.name: row.step for row in self.table.codes}
        room = 8 * self.table.value_planes - FLOAT_HEAD
        kept = sorted(row.name for row in self.table.kept if row.kind == "F32")
        return Grid(steps=steps, digits=min(MOST_DIGITS, max(1, room)), kept=kept)

    def tensors(self) -> dict[str, Tensor]:
        """Decode the tensors, by name.

        Raises:
            CheckpointError: a stream is not as long as the table says.
        """
        found = {}
        for name, length in self.table.num_bytes().items():
            coded = self.streams.get(name)
            content = b"" if coded is None else unpacked(coded, most=length)
            if len(content) != length:
                raise CheckpointError(f"its {name} are {len(content):,} bytes, not {length:,}")
            found[name] = content
        return taken_out(self.table, found)


def is_coded(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is of this format; what safetensors raises where it cannot be read."""
    with safe_open(path, framework="np") as file:
        text = (file.metadata() or {}).get(KEY)
    return bool(text == _METADATA[KEY])


def _num_bytes(parts: Mapping[str, bytes]) -> int:
    kinds = {name: (torch.uint8, (len(part),)) for name, part in parts.items()}
    return tensor_file.num_bytes(kinds, _METADATA)


def _most_about(coded: bytes) -> int:
    """Return the bytes that the stream that tells of the others may expand to."""
    return min(_MOST_ABOUT, _FREE_ABOUT + _ABOUT_PER_BYTE * len(coded))


def _check_expansion(table: Table, size: int) -> None:
    """Check that a file of so many bytes may hold what its table says.

    Raises:
        CheckpointError: it is more than the coarsest grid puts into it.
    """
    held = sum(table.num_bytes().values())
    if held > _CONTENT_PER_BYTE * size:
        raise CheckpointError(
            f"{held:,} bytes of weights are more than a coded file of {size:,} bytes may hold: of "
            "a network that is nearly all zeros, save a plain file, with bytes= as large as that"
        )


def _bytes_of(file: Any, name: str) -> bytes:
    found = file.get_tensor(name)
    if found.dtype != np.uint8:
        raise CheckpointError(f"its {name} are not bytes")
    return bytes(found.tobytes())


def _digest(about: Mapping[str, Any], streams: Mapping[str, bytes]) -> str:
    found = hashlib.sha256(_text(about).encode())
    for name in sorted(streams):
        found.update(streams[name])
    return found.hexdigest()[:_DIGEST_LENGTH]


def _text(about: Mapping[str, Any]) -> str:
    return json.dumps(about, sort_keys=True, separators=(",", ":"), allow_nan=False)
