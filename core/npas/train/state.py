"""Resume files: all that a run needs to go on, in one safetensors file, whole or absent."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from npas import tensor_file
from npas.errors import CheckpointError

FORMAT = "npas-state-1"
_KEPT = 2  # the newest and, in case it turns out damaged, the one before


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class State:
    """Tensors by name, and facts that JSON can hold exactly."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def write(state: State, folder: Path, step: int) -> Path:
    """Put a state on disk and return its path when it is durable; older files but one are removed.

    A reader sees the whole file or none. Files of later steps, which an earlier run left, stay.

    Args:
        state: tensors on any device.
        folder: made if missing.
        step: of the whole job; names the file.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: t.detach().cpu() for name, t in state.tensors.items()}
    facts = json.dumps(state.facts, allow_nan=False)
    metadata = {"format": FORMAT, "facts": facts, "digest": tensor_file.digest(tensors, facts)}
    path = folder / f"state-{step:010d}.safetensors"
    tensor_file.write(tensors, path, metadata)
    for old in [each for each in saved(folder) if each.name <= path.name][_KEPT:]:
        old.unlink(missing_ok=True)
    return path


def saved(folder: Path) -> list[Path]:
    """Return the resume files in a folder, the newest first."""
    return sorted(folder.glob("state-*.safetensors"), reverse=True)


def read(path: Path) -> State:
    """Read a resume file.

    Raises:
        CheckpointError: it is missing, damaged, or not a resume file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path.name} is not a readable resume file: {error}") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path.name} has format {metadata.get('format')!r}, not {FORMAT!r}; start anew"
        )
    facts = metadata.get("facts", "")
    if metadata.get("digest") != tensor_file.digest(tensors, facts):
        raise CheckpointError(f"{path.name} is damaged: its contents changed after it was written")
    return State(tensors=tensors, facts=json.loads(facts))
