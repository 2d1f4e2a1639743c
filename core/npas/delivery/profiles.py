"""profile(): what a network takes to keep and to run, per layer, before any training."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from npas import arch
from npas.arch import matching
from npas.arch.costs import ModuleCost, costs, module_costs
from npas.arch.footprint import Stored, footprint
from npas.delivery import own
from npas.delivery.checkpoint import read_metadata
from npas.delivery.file_size import shared_state
from npas.errors import InvalidSpecError
from npas.planning.planner import plan as planned
from npas.plans import Plan
from npas.sharing.model import SharedModel
from npas.spec import ArchitectureSpec, NetworkSpec
from npas.spec.sweep_points import BASELINE


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
        budget_bytes: most bytes of the file, of a plan in bytes; None of others.
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
    budget_bytes: int | None
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
        sizes = {"the file": self.file_bytes, "at most in a file": self.budget_bytes}
        told = [f"{name}: {size:,}" for name, size in sizes.items() if size is not None]
        file = f" ({', '.join(told)})" if told else ""
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


def profile(
    what: str | os.PathLike[str] | Plan | ArchitectureSpec | nn.Module,
    *,
    into: own.Into | None = None,
    example: object = None,
) -> Profile:
    """Return what a network takes: bytes, parameters, multiply-adds, activations, per layer.

    Nothing is computed, and no weights are read or made; but a module of the user's own is run.

    Args:
        what: a file of npas (a path), a plan or a network that shares by one, or an architecture
            by its name or as a spec; or a module of the user's own, which shares nothing yet.
        into: the module, where a plan or a file is of one; of several networks, by name. It is
            left as it is.
        example: what its forward takes, as for `npas.plan`; of several examples, all that is
            counted is divided by their number.

    Raises:
        CheckpointError: the file is no file of ours, or it is of another module.
        InvalidSpecError: the architecture's options do not fit; or a module or its example is
            needed and not given, or given and not needed, or does not run.
        UnknownNameError: it is neither a file nor the name of an architecture.

    Example:
        >>> import npas
        >>> found = npas.profile(npas.plan("resnet-8", budget=40_000))
        >>> found.parameters <= 40_000 < found.dense_parameters
        True
        >>> sum(row.macs for row in found.rows) == found.macs
        True
    """
    what = what.plan if isinstance(what, SharedModel) else what
    if isinstance(what, nn.Module):
        if into is not None:
            raise InvalidSpecError("into is for a plan or a file: here the module is given")
        whole = planned(what, method=BASELINE, example=example)
        return _of_plan(whole, None, _of_modules(whole, what, example))
    if isinstance(what, Plan):
        return _of_plan(what, None, _of_modules(what, into, example))
    if isinstance(what, os.PathLike) or Path(what if isinstance(what, str) else "").is_file():
        path = Path(str(what))
        plan, _ = read_metadata(path)
        return _of_plan(plan, path.stat().st_size, _of_modules(plan, into, example))
    spec = arch.resolve(arch.as_spec(what))
    networks = matching.resolve_for([NetworkSpec(name="network", architecture=spec)], None)
    whole = planned(networks, method=BASELINE)
    return _of_plan(whole, None, _of_modules(whole, into, example))


def _of_modules(
    plan: Plan, into: own.Into | None, example: object
) -> dict[str, tuple[ModuleCost, ...]]:
    """Return what the user's own modules of a plan cost, by network; they are run for it."""
    specs = {each.name: each.architecture.module for each in plan.networks}
    kinds = {name: spec.kind for name, spec in specs.items() if spec is not None}
    if not kinds:
        if into is not None or example is not None:
            raise InvalidSpecError(
                "into and example are for modules of your own: what an architecture costs is known"
            )
        return {}
    if into is None or example is None:
        raise InvalidSpecError(
            f"what {', '.join(kinds.values())} costs to run is known once it was run: give it and "
            "what its forward takes, npas.profile(MyNet(), example=(x, ...)), or beside a plan or "
            "a file npas.profile(plan, into=MyNet(), example=(x, ...))"
        )
    modules = own.given("the plan", plan, into) or {}
    examples = {next(iter(kinds)): example} if len(plan.networks) == 1 else example
    if not isinstance(examples, Mapping) or kinds.keys() - examples.keys():
        raise InvalidSpecError(
            'give the examples of several modules by name, as {"a": (x,), "b": (x, y)}'
        )
    return {name: module_costs(modules[name], examples[name]) for name in kinds}


def _of_plan(
    plan: Plan, file_bytes: int | None, run: Mapping[str, tuple[ModuleCost, ...]]
) -> Profile:
    stored = [_tensors(each) for each in plan.networks]
    rows = _rows(plan, stored, run)
    return Profile(
        parameters=plan.ledger.total,
        dense_parameters=plan.ledger.dense,
        weight_bytes=sum(map(_num_bytes, shared_state(plan, stored))),
        file_bytes=file_bytes,
        budget_bytes=None if plan.file is None else plan.file.bytes,
        macs=sum(row.macs for row in rows),
        peak_activation_bytes=max(row.peak_bytes for row in rows),
        rows=rows,
    )


def _tensors(network: NetworkSpec) -> tuple[Stored, ...]:
    """Return the tensors of a network without sharing; of a user's module, those planned."""
    module = network.architecture.module
    if module is None:
        return footprint(network.architecture, batch=2).tensors
    return tuple(
        Stored(
            name=each.name,
            dtype=getattr(torch, each.dtype),
            shape=each.shape,
            is_trained=each.kind == "trained",
        )
        for each in module.tensors
    )


def _num_bytes(tensor: Stored) -> int:
    return math.prod(tensor.shape) * tensor.dtype.itemsize


def _rows(
    plan: Plan, stored: Sequence[Sequence[Stored]], run: Mapping[str, tuple[ModuleCost, ...]]
) -> tuple[ProfileRow, ...]:
    """Return the rows of all networks.

    Of a module several of whose weights are made of banks, the first one's group is told.
    """
    made = {slot.key: group.name for group in plan.groups for slot in group.slots}
    rows = []
    for network, tensors in zip(plan.networks, stored, strict=True):
        sizes = {each.name: math.prod(each.shape) for each in tensors}
        for cost in run.get(network.name) or costs(network.architecture):
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
