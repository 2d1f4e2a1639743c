"""The header of a safetensors file, read by Python alone: what tensors there are, and where.

A file is eight bytes with the length of a header, little-endian, the header, JSON of name ->
dtype, shape and place of each tensor, then the numbers, without gaps
(https://huggingface.co/docs/safetensors). Nothing in a header is believed before it is checked:
files come from strangers.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from npas.errors import StartError

MAX_HEADER_BYTES = 8 * 1024 * 1024
MAX_TENSORS = 8192
MAX_NAME_CHARACTERS = 300

BYTES_OF: Mapping[str, int] = {
    **{"F64": 8, "F32": 4, "F16": 2, "BF16": 2},
    **{"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1},
}
"""Types that weights and statistics have, to bytes of one number; others are refused."""

_PICKLES = {
    b"PK\x03\x04": "a zip archive, as torch.save writes",
    **dict.fromkeys((b"\x80\x02\x8a", b"\x80\x04\x95", b"\x80\x05\x95"), "a pickle"),
}
"""How other files begin; read as the length of a header, all are more than `MAX_HEADER_BYTES`."""

_FIELD = "/start/checkpoint"
_LENGTH_BYTES = 8
_MAX_DIMENSIONS = 8
_PIECE_BYTES = 1024 * 1024
_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorEntry:
    """One tensor of a file.

    Attributes:
        dtype: one of `BYTES_OF`.
        shape: lengths, outermost first; () of a single number.
        start: of its bytes, counted from the beginning of the file.
        num_bytes: that it takes.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    num_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsHeader:
    """What the header of a file says, checked against the file's size.

    Attributes:
        tensors: by name, in the order of the file.
        metadata: texts that lie beside them.
    """

    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors by name, as `check_weights` takes them."""
        return {name: entry.shape for name, entry in self.tensors.items()}

    @property
    def num_scalars(self) -> int:
        """Numbers in all tensors."""
        return sum(math.prod(entry.shape) for entry in self.tensors.values())


def read_header(path: Path) -> WeightsHeader:
    """Read and check the header of a safetensors file; no tensor is read.

    Raises:
        StartError: it is no such file, or truncated; tensors overlap or leave gaps; a type, or
            how many there are, is not allowed. The message says which.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_LENGTH_BYTES)
        length = _length(head, size)
        told = _parsed(file.read(length))
    metadata = told.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _wrong("its __metadata__ is no table of texts")
    if not 0 < len(told) <= MAX_TENSORS:
        raise _wrong(f"it holds {len(told):,} tensors; 1 to {MAX_TENSORS:,} are read")
    start = _LENGTH_BYTES + length
    tensors = {name: _entry(name, each, start) for name, each in told.items()}
    _check_places(tensors, start, size)
    return WeightsHeader(tensors=tensors, metadata=metadata)


def _wrong(what: str) -> StartError:
    return StartError(
        f"not a safetensors file that can be used: {what}; write it again with "
        "safetensors.torch.save_file(module.state_dict(), path)",
        field=_FIELD,
    )


def check_numbers(path: Path, header: WeightsHeader) -> None:
    """Check that no number of a file is infinite or none at all, a piece at a time.

    Args:
        path: of the file.
        header: of it, from `read_header`.

    Raises:
        StartError: one is; the message names its tensor.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        for name, entry in header.tensors.items():
            file.seek(entry.start)
            for at in range(0, entry.num_bytes, _PIECE_BYTES):
                piece = file.read(min(_PIECE_BYTES, entry.num_bytes - at))
                if not _are_finite(piece, entry.dtype):
                    raise StartError(
                        f"tensor {name!r} holds infinite numbers, or NaN; give the weights of a "
                        "training that did not diverge",
                        field=_FIELD,
                    )


def _are_finite(piece: bytes, dtype: str) -> bool:
    if dtype == "BF16":  # which numpy does not know: all ones in the exponent
        return bool(((np.frombuffer(piece, "<u2") & 0x7F80) != 0x7F80).all())
    if dtype not in _FLOATS:
        return True
    return bool(np.isfinite(np.frombuffer(piece, _FLOATS[dtype])).all())


def _length(head: bytes, size: int) -> int:
    """Return how many bytes the header takes."""
    for magic, kind in _PICKLES.items():
        if head.startswith(magic):
            raise _wrong(
                f"it is {kind}, which can hold programs and is never opened here; load it where "
                "you trust it, with torch.load(PATH, weights_only=True)"
            )
    length = int.from_bytes(head, "little")
    if len(head) < _LENGTH_BYTES or length > MAX_HEADER_BYTES:
        told = f"its first 8 bytes tell of a header of {length:,} bytes"
        raise _wrong(f"{told}; at most {MAX_HEADER_BYTES:,} are read")
    if _LENGTH_BYTES + length > size:
        raise _wrong(f"its header has {length:,} bytes, the whole file {size:,}")
    return length


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        told = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _wrong(f"its header is no JSON ({error})") from None
    if not isinstance(told, dict):
        raise _wrong("its header is no table of tensors")
    return told


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name stands there twice")
    return table


def _entry(name: str, told: Any, start: int) -> TensorEntry:
    shown = repr(name[:MAX_NAME_CHARACTERS])
    if not 0 < len(name) <= MAX_NAME_CHARACTERS or not name.isprintable():
        raise _wrong(
            f"the name {shown} has more than {MAX_NAME_CHARACTERS} characters, or such as cannot "
            "be printed"
        )
    if not isinstance(told, dict) or told.keys() != {"dtype", "shape", "data_offsets"}:
        raise _wrong(f"tensor {shown} has no dtype, shape and data_offsets, or more than these")
    dtype, shape, places = told["dtype"], told["shape"], told["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BYTES_OF:
        raise _wrong(
            f"tensor {shown} is of type {str(dtype)[:20]!r}; allowed are {', '.join(BYTES_OF)}"
        )
    if not (_are_counts(shape) and len(shape) <= _MAX_DIMENSIONS):
        raise _wrong(
            f"the shape of tensor {shown} is no list of at most {_MAX_DIMENSIONS} lengths"
        )
    num_bytes = math.prod(shape) * BYTES_OF[dtype]
    if not (_are_counts(places) and len(places) == 2 and places[1] - places[0] == num_bytes):
        raise _wrong(f"tensor {shown} takes {num_bytes:,} bytes, and its data_offsets say another")
    return TensorEntry(
        dtype=dtype, shape=tuple(shape), start=start + places[0], num_bytes=num_bytes
    )


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value < 2**53 for value in values
    )


def _check_places(tensors: Mapping[str, TensorEntry], start: int, size: int) -> None:
    """Check that the tensors lie one behind the other and fill the file."""
    end = start
    for name, entry in sorted(
        tensors.items(), key=lambda item: (item[1].start, item[1].num_bytes)
    ):
        if entry.start != end:
            what = (
                "overlaps with the one before" if entry.start < end else "leaves a gap before it"
            )
            raise _wrong(f"tensor {name!r} {what}")
        end += entry.num_bytes
    if end != size:
        what = "it is truncated" if end > size else "something else lies behind its tensors"
        raise _wrong(f"its tensors end at byte {end:,}, the file at {size:,}: {what}")
