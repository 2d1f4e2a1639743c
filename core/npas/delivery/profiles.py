"""profile(): what a network takes to keep and to run, per layer, before any training."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from npas import arch
from npas.arch import matching
from npas.arch.costs import costs
from npas.arch.footprint import Stored, footprint
from npas.delivery.checkpoint import read_metadata
from npas.delivery.file_size import shared_state
from npas.plans import Group, Plan
from npas.spec import ArchitectureSpec, NetworkSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileRow:
    """One module of one network, or what is done outside of the others.

    Attributes:
        network: its name.
        layer: path in the network.
        kind: class of the module.
        reads: group whose banks make its weights; "" where they are plain.
        parameters: trainable scalars that it has without sharing.
        own_parameters: those that nobody else reads: without what banks make.
        macs: multiply-adds for one example.
        output_shape: for one example.
        peak_bytes: of the activations that are in memory at once while it runs, in float32.
    """

    network: str
    layer: str
    kind: str
    reads: str
    parameters: int
    own_parameters: int
    macs: int
    output_shape: tuple[int, ...]
    peak_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """What networks take to keep and to run; an estimate of inference of one example.

    Attributes:
        parameters: trainable scalars, each once.
        dense_parameters: of the same networks without sharing.
        weight_bytes: of parameters and statistics as they are kept, without a file's header.
        file_bytes: of the file that was given; None for a plan or an architecture.
        macs: multiply-adds of all networks together. Sharing changes none of them; composing the
            weights, once when a file is loaded, is not in it.
        peak_activation_bytes: most bytes of activations that are in memory at once, input and
            logits among them, as PyTorch runs the network layer by layer; the networks run one
            after the other. Kernels' own work space is not in it, and a runtime that fuses layers
            needs less.
        rows: per layer, in the order in which they run.
    """

    parameters: int
    dense_parameters: int
    weight_bytes: int
    file_bytes: int | None
    macs: int
    peak_activation_bytes: int
    rows: tuple[ProfileRow, ...]

    def __str__(self) -> str:
        """Return a table."""
        several = len({row.network for row in self.rows}) > 1
        lines = [_HEADER]
        for row in self.rows:
            name = f"{row.network}: {row.layer}" if several else row.layer
            counts = [f"{count:,}" for count in (row.parameters, row.own_parameters, row.macs)]
            shape = "x".join(map(str, row.output_shape))
            lines.append([name, row.kind, row.reads, *counts, shape, f"{row.peak_bytes:,}"])
        file = "" if self.file_bytes is None else f" (the file: {self.file_bytes:,})"
        return (
            f"{_aligned(lines)}\n"
            f"{self.parameters:,} parameters of {self.dense_parameters:,} without sharing, "
            f"{self.weight_bytes:,} bytes{file}; {self.macs:,} MACs and at most "
            f"{self.peak_activation_bytes:,} bytes of activations for one example"
        )


_HEADER = ["layer", "kind", "reads", "parameters", "own", "MACs", "output", "peak bytes"]
_WORDS = {0, 1, 2, 6}
"""Columns that are written from the left."""


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return a table as text."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index in _WORDS else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def profile(what: str | os.PathLike[str] | Plan | ArchitectureSpec) -> Profile:
    """Return what a network takes: bytes, parameters, multiply-adds, activations, per layer.

    Nothing is computed, and no weights are read or made.

    Args:
        what: a file of npas (a path), a plan, or an architecture by its name or as a spec.

    Raises:
        CheckpointError: the file is no file of ours.
        InvalidSpecError: the architecture's options do not fit.
        UnknownNameError: it is neither a file nor the name of an architecture.

    Example:
        >>> import npas
        >>> found = npas.profile(npas.plan("resnet-8", budget=40_000))
        >>> found.parameters <= 40_000 < found.dense_parameters
        True
        >>> sum(row.macs for row in found.rows) == found.macs
        True
    """
    if isinstance(what, Plan):
        return _of_plan(what, None)
    if isinstance(what, os.PathLike) or Path(what if isinstance(what, str) else "").is_file():
        path = Path(str(what))
        plan, _ = read_metadata(path)
        return _of_plan(plan, path.stat().st_size)
    spec = arch.resolve(arch.as_spec(what))
    networks = matching.resolve_for([NetworkSpec(name="network", architecture=spec)], None)
    dense = arch.layer_table(networks).dense
    sizes = sum(map(_num_bytes, footprint(networks[0].architecture, batch=2).tensors))
    return _profile(_rows(networks, ()), dense, dense, sizes, None)


def _of_plan(plan: Plan, file_bytes: int | None) -> Profile:
    stored = [footprint(each.architecture, batch=2).tensors for each in plan.networks]
    sizes = sum(map(_num_bytes, shared_state(plan, stored)))
    rows = _rows(plan.networks, plan.groups)
    return _profile(rows, plan.ledger.total, plan.ledger.dense, sizes, file_bytes)


def _num_bytes(tensor: Stored) -> int:
    return math.prod(tensor.shape) * tensor.dtype.itemsize


def _profile(
    rows: tuple[ProfileRow, ...], total: int, dense: int, sizes: int, file_bytes: int | None
) -> Profile:
    return Profile(
        parameters=total,
        dense_parameters=dense,
        weight_bytes=sizes,
        file_bytes=file_bytes,
        macs=sum(row.macs for row in rows),
        peak_activation_bytes=max(row.peak_bytes for row in rows),
        rows=rows,
    )


def _rows(networks: Sequence[NetworkSpec], groups: Sequence[Group]) -> tuple[ProfileRow, ...]:
    """Return the rows of all networks.

    Of a module several of whose weights are made of banks, the first one's group is told.
    """
    made = {slot.key: group.name for group in groups for slot in group.slots}
    rows = []
    for network in networks:
        stored = footprint(network.architecture, batch=2).tensors
        sizes = {each.name: math.prod(each.shape) for each in stored}
        for cost in costs(network.architecture):
            reads = [name for name in cost.holds if (network.name, name) in made]
            total = sum(sizes[name] for name in cost.holds)
            row = ProfileRow(
                network=network.name,
                layer=cost.name,
                kind=cost.kind,
                reads=made[network.name, reads[0]] if reads else "",
                parameters=total,
                own_parameters=total - sum(sizes[name] for name in reads),
                macs=cost.macs,
                output_shape=cost.output_shape,
                peak_bytes=cost.peak_bytes,
            )
            rows.append(row)
    return tuple(rows)
