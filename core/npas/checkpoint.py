"""One file that holds the bank once, and gives the network back bit for bit.

A checkpoint is a safetensors file: every trainable tensor once, every buffer, and in the
metadata the plan (with the architectures) and whatever the caller adds. Nothing in it is
executed or unpickled.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, overload

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from npas import arch
from npas.errors import CheckpointError, PlanError
from npas.plans import Plan
from npas.sharing import SharedModel, share

FORMAT = "npas-1"


def save(
    model: SharedModel, path: str | os.PathLike[str], *, extra: Mapping[str, Any] | None = None
) -> None:
    """Write a shared network to one file, atomically.

    Args:
        model: from `npas.share` or `npas.load`.
        path: of the file; replaced if it is there.
        extra: JSON data to keep beside the weights; None keeps `model.extra`.

    Raises:
        CheckpointError: `extra` is not JSON.
    """
    path = Path(path)
    try:
        note = json.dumps(model.extra if extra is None else extra, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"extra cannot be written as JSON: {error}") from error
    metadata = {"format": FORMAT, "plan": model.plan.to_json(), "extra": note}
    tensors = {name: t.detach().contiguous().cpu() for name, t in model.state_dict().items()}
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file(tensors, part, metadata=metadata)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_metadata(path: str | os.PathLike[str]) -> tuple[Plan, dict[str, Any]]:
    """Return the plan and the extra data of a checkpoint, without its weights.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is damaged, of another version, or not one of ours.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        found = metadata.get("format")
        if found != FORMAT:
            raise CheckpointError(f"{path} is of format {found!r}; this version reads {FORMAT!r}")
        extra = json.loads(metadata["extra"])
        return Plan.from_json(metadata["plan"]), extra if isinstance(extra, dict) else {}
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} is not a readable checkpoint: {error}") from error


@overload
def load(
    path: str | os.PathLike[str], *, materialise: Literal[False] = False, device: str = "cpu"
) -> SharedModel: ...


@overload
def load(
    path: str | os.PathLike[str], *, materialise: Literal[True], device: str = "cpu"
) -> nn.Module: ...


def load(
    path: str | os.PathLike[str], *, materialise: bool = False, device: str = "cpu"
) -> nn.Module:
    """Open a checkpoint: the outputs are bit-equal to those of the saved network.

    Args:
        path: of a file written by `npas.save` or downloaded from the service.
        materialise: return a plain module without banks instead; with several networks, a
            ModuleDict of them.
        device: where to put it.

    Returns:
        The network in evaluation mode; `.plan` and `.extra` are what was saved.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is damaged, of another version, or its tensors do not fit its plan.
    """
    plan, extra = read_metadata(path)
    try:
        networks = {
            network.name: arch.build_uninitialised(network.architecture)
            for network in plan.networks
        }
        model = share(networks, plan)
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        model.load_state_dict(tensors)
    except (SafetensorError, PlanError, RuntimeError, LookupError, ValidationError) as error:
        raise CheckpointError(f"{path} does not hold what its plan says: {error}") from error
    model.extra = extra
    model.eval().to(device)
    return _plain(model) if materialise else model


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
