"""What lies where in a coded file: three streams, and a table of the tensors in them."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from npas.delivery.coded import planes
from npas.delivery.coded.grid import Grid
from npas.errors import CheckpointError
from npas.spec import Spec

Length = Annotated[int, Field(ge=0, le=2**40)]
Dimensions = Annotated[tuple[Length, ...], Field(max_length=8)]

FLOAT_HEAD = 9
"""Bits of a float32 before its mantissa: the sign and the exponent."""

_KINDS = {
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""Types that are kept as they are, by their names in the table."""


class OnGrid(Spec):
    """A tensor in the stream of codes: each weight is its code times the step, in float32."""

    name: str
    shape: Dimensions
    step: float = Field(gt=0, le=float(np.finfo(np.float32).max))


class Shortened(Spec):
    """A tensor in the stream of values: float32 whose last bits are 0."""

    name: str
    shape: Dimensions


class Kept(Spec):
    """A tensor in the stream of what is kept as it is."""

    name: str
    shape: Dimensions
    kind: str


class Table(Spec):
    """The tensors of each stream, one after another, and how their bytes lie.

    Attributes:
        codes: of weights on a grid.
        values: of what has a few digits.
        kept: of all else.
        code_planes: bytes of a code.
        value_planes: bytes of a value.
    """

    codes: tuple[OnGrid, ...]
    values: tuple[Shortened, ...]
    kept: tuple[Kept, ...]
    code_planes: int = Field(ge=1, le=planes.MOST_CODE_PLANES)
    value_planes: int = Field(ge=1, le=4)

    def to_json(self) -> dict[str, Any]:
        """Return it with each tensor as a list of its fields."""
        whole = self.model_dump(mode="json")
        return {
            name: [list(row.values()) for row in each] if isinstance(each, list) else each
            for name, each in whole.items()
        }

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> "Table":
        """Read what `to_json` returned; what pydantic raises where it is something else."""
        rows = {name: list(kind.model_fields) for name, kind in _ROWS.items()}
        named = {
            name: [dict(zip(rows[name], row, strict=True)) for row in each]
            if name in rows
            else each
            for name, each in found.items()
        }
        return cls.model_validate_json(json.dumps(named))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor, by name."""
        rows: tuple[OnGrid | Shortened | Kept, ...] = (*self.codes, *self.values, *self.kept)
        return {row.name: row.shape for row in rows}

    @property
    def num_weights(self) -> int:
        """How many there are on a grid."""
        return _num_scalars(self.codes)

    def num_bytes(self) -> dict[str, int]:
        """Return the length of each stream before it is coded."""
        return {
            "codes": self.code_planes * _num_scalars(self.codes),
            "values": self.value_planes * _num_scalars(self.values),
            "kept": sum(_kind(row).itemsize * math.prod(row.shape) for row in self.kept),
        }


_ROWS: Mapping[str, type[Spec]] = {"codes": OnGrid, "values": Shortened, "kept": Kept}


def laid_out(tensors: Mapping[str, Tensor], grid: Grid) -> tuple[Table, dict[str, bytes]]:
    """Return the table of a network, and its streams, not yet coded.

    Args:
        tensors: its state, on the CPU.
        grid: what it is rounded to.

    Raises:
        CheckpointError: a tensor is of a type that no stream holds, or a value is no number.
    """
    apart = _by_stream(tensors, grid)
    codes = _codes(apart["codes"], grid)
    values = [grid.rounded(name, each).reshape(-1).numpy() for name, each in apart["values"]]
    numbers = np.concatenate(values) if values else np.zeros(0, np.float32)
    if not np.isfinite(numbers).all():
        raise CheckpointError("a value of the network is not a finite number")
    table = Table(
        codes=tuple(
            OnGrid(name=name, shape=tuple(each.shape), step=grid.steps[name])
            for name, each in apart["codes"]
        ),
        values=tuple(Shortened(name=n, shape=tuple(each.shape)) for n, each in apart["values"]),
        kept=tuple(
            Kept(name=name, shape=tuple(each.shape), kind=_name_of(name, each))
            for name, each in apart["kept"]
        ),
        code_planes=planes.num_code_planes(codes),
        value_planes=math.ceil((FLOAT_HEAD + grid.digits) / 8),
    )
    kept = [each.contiguous().reshape(-1).view(torch.uint8) for _, each in apart["kept"]]
    return table, {
        "codes": planes.of_codes(codes, table.code_planes),
        "values": planes.of_values(numbers, table.value_planes),
        "kept": b"".join(each.numpy().tobytes() for each in kept),
    }


def taken_out(table: Table, streams: Mapping[str, bytes]) -> dict[str, Tensor]:
    """Return the tensors that streams hold, by name."""
    codes = planes.to_codes(streams["codes"], table.code_planes)
    values = planes.to_values(streams["values"], table.value_planes)
    found: dict[str, Tensor] = {}
    for row, part in _cut(table.codes, codes):
        weight = part.astype(np.float32) * np.float32(row.step)
        found[row.name] = torch.from_numpy(weight).reshape(row.shape)
    for row, part in _cut(table.values, values):
        found[row.name] = torch.from_numpy(part.copy()).reshape(row.shape)
    start = 0
    for row in table.kept:
        end = start + _kind(row).itemsize * math.prod(row.shape)
        found[row.name] = torch.empty(row.shape, dtype=_kind(row))
        if end > start:  # torch reads nothing from an empty buffer
            content = torch.frombuffer(bytearray(streams["kept"][start:end]), dtype=torch.uint8)
            found[row.name] = content.view(_kind(row)).reshape(row.shape)
        start = end
    return found


def _by_stream(tensors: Mapping[str, Tensor], grid: Grid) -> dict[str, list[tuple[str, Tensor]]]:
    """Return the tensors of each stream; values of one kind lie together, which codes better."""
    found: dict[str, list[tuple[str, Tensor]]] = {"codes": [], "values": [], "kept": []}
    for name, tensor in tensors.items():
        is_value = tensor.dtype == torch.float32 and name not in grid.kept
        stream = "values" if is_value else "kept"
        found["codes" if name in grid.steps else stream].append((name, tensor.detach().cpu()))
    found["values"].sort(key=lambda pair: pair[0].rpartition(".")[2])
    return found


def _codes(weights: Sequence[tuple[str, Tensor]], grid: Grid) -> np.ndarray[Any, Any]:
    parts = []
    for name, weight in weights:
        steps = torch.round(weight.reshape(-1) / grid.steps[name]).nan_to_num(2.0**30)
        parts.append(steps.clamp(-(2.0**30), 2.0**30).to(torch.int32).numpy())
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def _cut(rows: Sequence[Any], whole: np.ndarray[Any, Any]) -> list[tuple[Any, Any]]:
    """Return each row of a table with its part of a stream."""
    ends = np.cumsum([math.prod(row.shape) for row in rows], dtype=np.int64)
    return list(zip(rows, np.split(whole, ends[:-1]), strict=True)) if rows else []


def _num_scalars(rows: Sequence[Any]) -> int:
    return sum(math.prod(row.shape) for row in rows)


def _kind(row: Kept) -> torch.dtype:
    if row.kind not in _KINDS:
        raise CheckpointError(f"{row.name} is of the type {row.kind}, which this version lacks")
    return _KINDS[row.kind]


def _name_of(name: str, tensor: Tensor) -> str:
    for kind, dtype in _KINDS.items():
        if tensor.dtype == dtype:
            return kind
    raise CheckpointError(f"{name} is {tensor.dtype}, which a coded file cannot hold")
