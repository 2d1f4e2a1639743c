"""export(): a network as a file of another format, in which what was shared stays shared."""

import errno
import hashlib
import json
import math
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from npas import arch, registry
from npas.arch.own.copying import copied
from npas.delivery.exports import _weights
from npas.delivery.exports._example import Example, check_example, inputs_of, outputs_of
from npas.delivery.exports._target import Order, Target
from npas.delivery.exports._unrolled import NormsApart, Plain, Unrolled, unique_bytes
from npas.errors import ExportError, InvalidSpecError, UnknownNameError
from npas.plans import Plan
from npas.sharing.model import SharedModel
from npas.spec.export import ExportSpec
from npas.torch_internals import lacks_memory

TOLERANCE = 1e-5
"""By how much an output of a file may differ, as a part of the largest of the network's: other
runtimes sum in another order."""

_FORMATS = "npas.delivery.exports"

_SPREAD = (
    "{} holds weights, not what they are made of, and is {:.1f} times as large as what is unique "
    "in it: its plan draws places at random. Methods whose files hold what is shared once: "
    "superweights, soft_sharing, ssn, uniform"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """A file that was written.

    Attributes:
        path: of it.
        to: its format.
        file_bytes: on disk.
        unique_bytes: of the network's parameters and statistics in float32, each once.
        max_difference: of its outputs from the network's, for random examples, as they are; None
            where its runtime is not installed.
        keeps_sharing: whether what was shared is in it once; see `keeps_sharing`.
    """

    path: Path
    to: str
    file_bytes: int
    unique_bytes: int
    max_difference: float | None
    keeps_sharing: bool

    @property
    def ratio(self) -> float:
        """Return how large the file is in units of what is unique in it."""
        return self.file_bytes / self.unique_bytes


def target(name: str) -> Target:
    """Return a format by name.

    Raises:
        UnknownNameError: there is none.
    """
    known = _targets()
    found = known.get(registry.canonical(name.replace(".", "_")))
    if found is None:
        names = [each.name for each in known.values()]
        alike = [each.name for each in known.values() if _suffix(each) == f".{name}"]
        near = alike or registry.nearest(name, names)
        raise UnknownNameError("format", name, names, near, field="/to")
    return found


def _targets() -> dict[str, Target]:
    """Return all formats, by the names of their files."""
    return {
        name: cast(Target, registry.load(_FORMATS, name, kind="format").TARGET)
        for name in registry.names(_FORMATS)
    }


def check(spec: ExportSpec, plan: Plan | None) -> ExportSpec:
    """Refuse an export of which it is known at once that it cannot be made.

    Args:
        spec: what is asked for.
        plan: of the networks; None: of a plain module.

    Returns:
        The same, its format by the name that formats have for users: `torch_export` is
        `torch.export`.

    Raises:
        InvalidSpecError: an option means nothing to the format, or to a plain module.
        MissingPackageError: what writes the format is not installed.
        UnknownNameError: there is no such format, or no such network.
    """
    writer = target(spec.to)
    told = {
        name
        for name, field in ExportSpec.model_fields.items()
        if getattr(spec, name) != field.default
    }
    if strange := sorted(told - {"to", "network", *writer.options}):
        allowed = ", ".join(sorted({"network", *writer.options}))
        raise InvalidSpecError(
            f"{strange[0]} means nothing to an export to {writer.name}, which has: {allowed}",
            field=f"/{strange[0]}",
        )
    if plan is None and (own := sorted(told & {"guard", "network"})):
        raise InvalidSpecError(f"{own[0]} is for a network of npas.share", field=f"/{own[0]}")
    if plan is not None and spec.network is not None:
        known = [each.name for each in plan.networks]
        if spec.network not in known:
            nearest = registry.nearest(spec.network, known)
            raise UnknownNameError("network", spec.network, known, nearest, field="/network")
    for package in writer.packages:
        registry.require(package, extra=writer.extra)
    return spec.model_copy(update={"to": writer.name})


def keeps_sharing(spec: ExportSpec, plan: Plan) -> bool:
    """Return whether what networks share will be in a file once; else it is as large as dense.

    Args:
        spec: what is asked for, checked.
        plan: of the networks.
    """
    return target(spec.to).is_graph and _weights.keeps_sharing(plan, spec.network)


def artifact_name(spec: ExportSpec) -> str:
    """Return the name of the file that a job delivers: other options, another name.

    Raises:
        UnknownNameError: there is no such format.
    """
    writer = target(spec.to)
    stem, _, suffix = writer.file_name.partition(".")
    told = spec.model_dump(mode="json", exclude={"to"}, exclude_defaults=True)
    if told.keys() - {"network"}:
        text = json.dumps(told, sort_keys=True).encode()
        told["digest"] = hashlib.sha256(text).hexdigest()[:8]
    words = [_NO_NAME.sub("_", str(told[name])) for name in ("network", "digest") if name in told]
    return ".".join(("-".join((stem, *words)), suffix))


_NO_NAME = re.compile(r"[^\w-]", re.ASCII)


def export(
    net: nn.Module,
    path: str | os.PathLike[str],
    to: str | None = None,
    *,
    example: Example | None = None,
    **options: Any,
) -> Exported:
    """Write a network in another format, in float32; run the file and compare.

    A shared network composes its weights inside of the file, from templates and coefficients that
    stand in it once. Several networks are one file: each has an output, named as it is.

    Args:
        net: from `npas.share` or `npas.load`, or a plain module of tensors.
        path: of the file; replaced if it is there.
        to: "onnx" (.onnx), "torch.export" (.pt2) or "safetensors" (.safetensors: materialised
            weights by the names of the original module; of several networks, NETWORK.NAME); None:
            by the suffix of the path.
        example: input (B, ...) to trace and compare with, several in a tuple, or by the names
            that forward has for them; None: random, by the plan. Needed for a plain module, but
            not for safetensors.
        **options: fields of `npas.spec.export.ExportSpec`: network, guard, norms, dynamic_batch,
            opset. A format refuses those that mean nothing to it.

    Raises:
        ExportError: the network cannot be written so, or the file gives other outputs.
        MemoryError: there is too little.
        InvalidSpecError: an option or the example does not fit, or the suffix of the path is of
            no format, or of another.
        MissingPackageError: what writes the format is not installed.
        OSError: the file cannot be written.
        UnknownNameError: there is no such format, or no such network.

    Example:
        >>> import npas
        >>> plan = npas.plan("resnet-8", budget=40_000, method="block_mix")
        >>> net = npas.share(npas.build("resnet-8"), plan)
        >>> done = npas.export(net, "/tmp/net.onnx")
        >>> done.ratio < 1.2, done.max_difference < 1e-5
        (True, True)
    """
    place = Path(path)
    if not place.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(place.parent))
    if not isinstance(net, nn.Module):
        raise InvalidSpecError(
            f"a {type(net).__name__} cannot be exported: give a network, from npas.share or "
            "npas.load"
        )
    for name, tensor in net.named_parameters():
        if tensor.is_meta:
            raise InvalidSpecError(f"{name} is on the meta device, and has no numbers to write")
    spec = _spec(_format(place, to), options)
    plan = net.plan if isinstance(net, SharedModel) else None
    spec, writer = check(spec, plan), target(spec.to)
    order, size = _order(net, spec, example)
    draft = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        if writer.is_graph:
            check_example(order)
        with torch.no_grad():
            writer.write(order, draft)
            difference = _difference(order, writer.run(order, draft))
        draft.replace(place)
    except Exception as error:  # exporters raise errors of their own for it
        if lacks_memory(error):
            raise MemoryError(f"there is too little memory to export to {spec.to}") from error
        raise
    finally:
        draft.unlink(missing_ok=True)
    done = Exported(
        path=place,
        to=spec.to,
        file_bytes=place.stat().st_size,
        unique_bytes=size,
        max_difference=difference,
        keeps_sharing=writer.is_graph if plan is None else keeps_sharing(spec, plan),
    )
    if writer.is_graph and not done.keeps_sharing:
        warnings.warn(_SPREAD.format(place.name, done.ratio), stacklevel=2)
    return done


def _format(path: Path, to: str | None) -> str:
    """Return the format of a file, which is that of its suffix if that is of one."""
    suffixes = {_suffix(each): each.name for each in _targets().values()}
    found = suffixes.get(path.suffix.lower())
    known = ", ".join(f"{suffix} ({name})" for suffix, name in suffixes.items())
    if to is None and found is None:
        raise InvalidSpecError(
            f"the suffix of {path.name} is of no format: give one of {known}, or to=", field="/to"
        )
    if to is not None and found not in (None, target(to).name):
        raise InvalidSpecError(
            f"the suffix of {path.name} is of {found}, and to={to!r} is another format: leave to "
            f"away, or take its suffix: {known}",
            field="/to",
        )
    return to or str(found)


def _suffix(writer: Target) -> str:
    return Path(writer.file_name).suffix


def _spec(to: str, options: Mapping[str, Any]) -> ExportSpec:
    try:
        return ExportSpec(to=to, **options)
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(ExportSpec.model_fields)
        raise InvalidSpecError(
            f"option {first['loc'][0]!r} of an export: {first['msg']} (options: {known})",
            field=f"/{first['loc'][0]}",
        ) from error


def _order(net: nn.Module, spec: ExportSpec, example: Example | None) -> tuple[Order, int]:
    """Return what is to be written, and the bytes of what is unique in it."""
    if isinstance(net, SharedModel):
        shared = net if spec.network is None else net.member(spec.network)
        shared = copied(shared).cpu().float().eval()
        inputs = inputs_of(example, [*shared.networks])
        networks = shared.materialise()
        module: nn.Module = Unrolled(shared, guard=spec.guard)
        size = unique_bytes(shared.state_dict(keep_vars=True))
        if inputs is None:
            inputs = (_random_input(shared),)
    else:
        plain = copied(net).cpu().float()
        inputs = inputs_of(example, [plain])
        networks = {"logits": plain}
        module = Plain(plain)
        size = unique_bytes(plain.state_dict(keep_vars=True))
        if inputs is None and target(spec.to).is_graph:
            raise InvalidSpecError("give example=, an input of the module as a tensor")
    if spec.norms == "apart":
        module = NormsApart(module)
    batch = tuple(_batch(each.cpu(), spec) for each in inputs or ())
    return Order(networks=networks, module=module, example=batch, spec=spec), size


def _random_input(shared: SharedModel) -> Tensor:
    """Return two examples that a network can read.

    Raises:
        InvalidSpecError: its plan does not say what it reads.
    """
    spec, tested = shared.plan.networks[0].architecture, shared.extra.get("input_size")
    if isinstance(tested, int) and spec.input_size is not None and tested > spec.input_size:
        spec = spec.model_copy(update={"input_size": tested})  # the size that its grade is of
    try:
        return arch.example_input(spec, num_examples=2)
    except InvalidSpecError as error:
        raise InvalidSpecError(
            f"{error.message}: give example=, its input as a tensor or several"
        ) from error


def _batch(example: Tensor, spec: ExportSpec) -> Tensor:
    """Return as many examples as exporters want: they take a batch of 1 for a constant."""
    if not spec.dynamic_batch:
        return example[:1]
    return torch.cat((example, example)) if len(example) == 1 else example


def _difference(order: Order, found: list[Tensor] | None) -> float | None:
    """Return by how much outputs differ at most.

    Of each output, by the largest of it: single numbers near 0 are sums of large ones.

    Raises:
        ExportError: by more than rounding.
    """
    if found is None:
        return None
    worst = 0.0
    for name, one, other in zip(order.outputs, found, outputs_of(order), strict=True):
        apart = float((one.double() - other.double()).abs().max()) if one.numel() else 0.0
        worst = max(worst, apart)
        largest = float(other.abs().max()) if other.numel() else 0.0
        if not apart <= TOLERANCE * largest:
            raise ExportError(
                f"the file's {name} differ by {apart:.3g} from the network's, of which the "
                f"largest is {largest:.3g}; at most {TOLERANCE:g} of that is allowed: it was not "
                "kept; please report it with the network"
            )
    return worst if math.isfinite(worst) else None
