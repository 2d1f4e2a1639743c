"""One file that holds the bank once, and gives the network back bit for bit.

A checkpoint is a safetensors file: every trainable tensor once, every buffer, and in the
metadata the plan (with the architectures), whatever the caller adds, and digests of it all.
Nothing in it is executed or unpickled.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from npas import arch, tensor_file
from npas.arch import matching
from npas.delivery import own
from npas.delivery.coded.coder import Coder, refitted
from npas.delivery.coded.file import CodedFile, is_coded
from npas.errors import CheckpointError, NpasError, PlanError
from npas.plans import Plan
from npas.sharing.checks import check_coverage
from npas.sharing.model import SharedModel, check_shared

FORMAT = "npas-2"

BEFORE_DIGESTS = "npas-1"
"""The format that was written before files held digests; it is read still, unchecked."""

_NO_DIGEST = "0" * 64

METADATA_KEY = "npas"
"""The only key: safetensors writes several in another order in every process."""

UNREADABLE = (
    *(SafetensorError, OSError, RecursionError),
    *(AttributeError, KeyError, TypeError, ValueError),
)
"""What reading foreign metadata may raise."""


def save(
    model: SharedModel,
    path: str | os.PathLike[str],
    *,
    extra: Mapping[str, Any] | None = None,
    bytes: int | None = None,
) -> None:
    """Write a shared network to one file, atomically.

    Args:
        model: from `npas.share` or `npas.load`.
        path: of the file; replaced if it is there.
        extra: JSON data to keep beside the weights; None keeps `model.extra`.
        bytes: most bytes of the file: where the plain one is larger, weights are rounded as
            finely as the file has room for. A network that is trained for it loses less, see
            `npas.plan(..., budget={"bytes": ...})`. None: as many as a plan in bytes says, and a
            network from a coded file is coded as it was; else nothing is rounded.

    Raises:
        CheckpointError: `extra` is not a JSON object.
        CheckpointError: the network does not fit so many bytes; the message says how many it
            needs.
        InvalidSpecError: the model is not a shared network.
        OSError: the disk is full, or the folder is not there or cannot be written.
        PlanError: its modules or tensors are no longer those that its plan says.
    """
    check_shared(model)
    if bytes is not None and (isinstance(bytes, bool) or not isinstance(bytes, int)):
        raise CheckpointError(f"bytes is {bytes!r}: give a whole number, such as 96000")
    tensors = own.tensors_of(model)
    _check_as_planned(model, tensors)
    note = note_of(model.plan, model.extra if extra is None else extra)
    _write(model, tensors, note, Path(path), bytes)


def _write(
    model: SharedModel,
    tensors: Mapping[str, Tensor],
    note: Mapping[str, Any],
    path: Path,
    asked: int | None,
) -> None:
    """Write a network as it is where that is allowed, else as it was coded, else rounded."""
    planned = model.plan.file
    limit = planned.bytes if asked is None and planned is not None else asked
    is_small = limit is None or plain_bytes(tensors, note) <= limit
    is_coded_again = model.origin.coded is not None and not (is_small and asked is not None)
    before = refitted(tensors, note, model.origin.coded or {}) if is_coded_again else None
    if before is not None and (limit is None or before.file_bytes <= limit):
        before.write(path)
    elif limit is None or is_small:
        write_unchecked(tensors, note, path)
    else:
        coder = Coder(model.plan, limit)
        coder.fitted(tensors, note, squares=model.origin.squares).write(path)


def plain_bytes(tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> int:
    """Return the bytes of a file whose tensors are as they are."""
    digests = {"metadata": _NO_DIGEST, "tensors": _NO_DIGEST}
    kinds = {name: (each.dtype, each.shape) for name, each in tensors.items()}
    return tensor_file.num_bytes(kinds, {METADATA_KEY: _text({**note, "digests": digests})})


def _check_as_planned(model: SharedModel, tensors: Mapping[str, Tensor]) -> None:
    """Check that `load` will find in the file what it builds from the plan: nothing was replaced.

    Raises:
        PlanError: something was.
    """
    planned = SharedModel(_skeletons(model.plan, device="meta"), model.plan)
    own.check_networks(model, planned)
    try:
        _check_tensors(planned.state_dict(), tensors)
    except CheckpointError as error:
        raise PlanError(f"the network is no longer what its plan says: {error}") from error


def note_of(plan: Plan, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a file as JSON will have it.

    Raises:
        CheckpointError: `extra` is not a JSON object.
    """
    if not isinstance(extra, Mapping):
        raise CheckpointError(f"extra must be a mapping, not {type(extra).__name__}")
    note = {"format": FORMAT, "plan": json.loads(plan.to_json()), "extra": dict(extra)}
    try:
        return dict(json.loads(_text(note)))
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"extra cannot be written as JSON: {error}") from error


def _text(note: Mapping[str, Any]) -> str:
    """Return metadata as text: the same metadata, the same text."""
    return json.dumps(note, sort_keys=True, allow_nan=False)


def write_unchecked(tensors: Mapping[str, Tensor], note: Mapping[str, Any], path: Path) -> None:
    """Write tensors and metadata with their digests, as they are: `save` without its checks."""
    digests = {"metadata": _digest_of_note(note), "tensors": _digest_of_tensors(tensors)}
    tensor_file.write(tensors, path, {METADATA_KEY: _text({**note, "digests": digests})})


def _digest_of_note(note: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text(note).encode()).hexdigest()


def _digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    described = [
        [name, str(tensors[name].dtype), *tensors[name].shape] for name in sorted(tensors)
    ]
    return tensor_file.digest(tensors, json.dumps(described))


def read_metadata(path: str | os.PathLike[str]) -> tuple[Plan, dict[str, Any]]:
    """Return the plan and the extra data of a checkpoint, without its weights.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is damaged, of another version, or not one of ours.
    """
    plan, extra, _ = _read(path)
    return plan, extra


def _read(path: str | os.PathLike[str]) -> tuple[Plan, dict[str, Any], str | None]:
    """Return plan and extra, checked, and the digest of the tensors; None in a file without."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        if is_coded(path):
            note = dict(CodedFile.read(path).note)
            return Plan.from_json(json.dumps(note["plan"])), dict(note["extra"]), None
        with safe_open(path, framework="pt") as file:
            note = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
        found, digests = note.get("format"), note.pop("digests", None)
        if found is None:
            raise CheckpointError(
                f"{path} holds tensors without a plan; npas.save writes both. Weights alone are "
                "for module.load_state_dict(safetensors.torch.load_file(path)); npas.plan and "
                "npas.convert go on from there, and a job takes them as its start"
            )
        if found not in (FORMAT, BEFORE_DIGESTS):
            raise CheckpointError(
                f"{path} is of format {found!r}; this version reads {FORMAT!r} and "
                f"{BEFORE_DIGESTS!r}"
            )
        if (found, digests) != (BEFORE_DIGESTS, None):
            _check_note(path, note, digests["metadata"])
        plan = Plan.from_json(json.dumps(note["plan"]))
        return plan, dict(note["extra"]), digests and str(digests["tensors"])
    except CheckpointError:
        raise
    except UNREADABLE as error:
        raise CheckpointError(f"{path} is not a readable checkpoint: {error}") from error


def _check_note(path: str | os.PathLike[str], note: dict[str, Any], digest: object) -> None:
    if note["format"] != FORMAT or digest != _digest_of_note(note):
        raise CheckpointError(
            f"{path} is damaged: its metadata, the plan and what lies beside it, was changed "
            "after it was written; take another copy of the file"
        )


@overload
def load(
    path: str | os.PathLike[str],
    *,
    materialise: Literal[False] = False,
    device: str = "cpu",
    into: own.Into | None = None,
) -> SharedModel: ...


@overload
def load(
    path: str | os.PathLike[str],
    *,
    materialise: Literal[True],
    device: str = "cpu",
    into: own.Into | None = None,
) -> nn.Module: ...


def load(
    path: str | os.PathLike[str],
    *,
    materialise: bool = False,
    device: str = "cpu",
    into: own.Into | None = None,
) -> nn.Module:
    """Open a checkpoint: the outputs are bit-equal to those of the saved network.

    Args:
        path: of a file written by `npas.save` or downloaded from the service.
        materialise: return a plain module without banks instead; with several networks, a
            ModuleDict of them.
        device: where to put it.
        into: a module to put the weights into, which is taken over: needed where the file is of a
            module of the user's own, whose code it has not; of several networks, by name.

    Returns:
        The network in evaluation mode; `.plan` and `.extra` are what was saved.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is damaged, of another version, or its tensors do not fit its plan; or
            it is of another module than the one given, or needs one.
        InvalidSpecError: what is given is no module.
    """
    plan, extra, digest = _read(path)
    networks = own.given(path, plan, into)
    try:
        tensors, coded = _tensors(path, plan)
        if digest not in (None, _digest_of_tensors(tensors)):
            raise CheckpointError(
                "it is damaged: its tensors were changed after it was written; take another copy"
            )
        model = _empty(plan, networks)
        _check_tensors(own.tensors_of(model), tensors)
        if networks is None:
            # Assigned, not copied: a network that was saved in another precision keeps it.
            model.load_state_dict(tensor_file.as_state_of(model, tensors), assign=True)
        else:
            own.put(model, tensors)
    except (SafetensorError, NpasError, RuntimeError, ValidationError) as error:
        raise CheckpointError(f"{path} does not hold what its plan says: {error}") from error
    model.extra, model.origin.coded = extra, coded
    model.eval().to(device)
    return _plain(model) if materialise else model


def _tensors(
    path: str | os.PathLike[str], plan: Plan
) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Return the tensors of a file that is as large as its plan says, and what rounded them."""
    if is_coded(path):
        coded = CodedFile.read(path)
        _check_sizes(plan, coded.table.shapes().values())
        return coded.tensors(), coded.grid().facts()
    with safe_open(path, framework="pt") as file:
        _check_sizes(plan, [file.get_slice(name).get_shape() for name in file.keys()])  # noqa: SIM118 - not a dict
        # Cloned: safetensors may give views of one mapped file.
        return {name: file.get_tensor(name).clone() for name in file.keys()}, None  # noqa: SIM118 - not a dict


def _empty(plan: Plan, given: Mapping[str, nn.Module] | None) -> SharedModel:
    """Return the networks of a plan, those given or new ones: all values are in the file."""
    networks = _skeletons(plan) if given is None else given
    check_coverage(networks, plan)
    with torch.device("cpu"):
        return SharedModel(networks, plan)


def _check_sizes(plan: Plan, shapes: Iterable[Sequence[int]]) -> None:
    """Check that the plan is no larger than its file, before memory is taken for it."""
    held = sum(math.prod(shape) for shape in shapes)
    if held < plan.ledger.total:
        raise CheckpointError(f"it holds {held:,} scalars, the plan has {plan.ledger.total:,}")
    for network in plan.networks:
        spec = network.architecture
        is_open = None in (spec.num_classes, spec.input_channels, spec.input_size)
        if is_open and spec.module is None:
            raise CheckpointError(f"network {network.name} leaves sizes open")
    dense = arch.layer_table(matching.resolve_for(plan.networks, None)).dense
    if dense != plan.ledger.dense:
        raise CheckpointError(f"dense, it has {dense:,} parameters, not {plan.ledger.dense:,}")


def _check_tensors(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Check names, shapes and kinds, which `load_state_dict` lets pass here and there."""
    if wrong := sorted(wanted.keys() ^ tensors.keys()):
        raise CheckpointError(f"it lacks tensors or has others: {', '.join(wrong[:5])}")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            shapes = tuple(tensor.shape), tuple(wanted[name].shape)
            raise CheckpointError(f"{name} is {shapes[0]}, not {shapes[1]}")
        is_same = tensor.dtype == wanted[name].dtype
        if not is_same and not (tensor.is_floating_point() and wanted[name].is_floating_point()):
            raise CheckpointError(f"{name} is {tensor.dtype}, not {wanted[name].dtype}")


def _skeletons(plan: Plan, *, device: str = "cpu") -> dict[str, nn.Module]:
    return {
        net.name: arch.build_uninitialised(net.architecture, device=device)
        for net in plan.networks
    }


def _plain(model: SharedModel) -> nn.Module:
    networks = model.materialise()
    return next(iter(networks.values())) if len(networks) == 1 else nn.ModuleDict(networks)


def num_parameters(model: nn.Module) -> int:
    """Count trainable scalars, each storage once, however many names or views it has."""
    storages: dict[int, int] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            key = parameter.untyped_storage().data_ptr()
            storages[key] = max(storages.get(key, 0), parameter.numel())
    return sum(storages.values())


def num_buffer_bytes(model: nn.Module) -> int:
    """Count the bytes of buffers (normalisation statistics) that a checkpoint holds."""
    state = model.state_dict(keep_vars=True)
    return sum(
        t.numel() * t.element_size() for t in state.values() if not isinstance(t, nn.Parameter)
    )
