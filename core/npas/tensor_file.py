"""Tensors on disk: one safetensors file, whole or absent, also after a power cut."""

import collections
import hashlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, dtype, nn, uint8

from npas.torch_internals import set_versions_of_modules, versions_of_modules


def write(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a file in one step: readers see the old one or the new one, and it is on disk.

    Args:
        tensors: on any device.
        path: of the file; replaced if it is there.
        metadata: texts that lie beside the tensors.

    Raises:
        OSError: the disk is full, or the folder is not there or cannot be written.
    """
    on_cpu = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.touch()
        mode = aside.stat().st_mode
        save_file(on_cpu, aside, dict(metadata))
        aside.chmod(mode)  # safetensors lets nobody but the owner read; the umask decides here
        _sync(aside)
        aside.replace(path)
        _sync(path.parent)
    except SafetensorError as error:
        raise _cause(error, path) from error
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        aside.unlink(missing_ok=True)


_TYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.float8_e5m2: "F8_E5M2",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.int16: "I16",
    torch.uint16: "U16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int32: "I32",
    torch.uint32: "U32",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.uint64: "U64",
}
"""Names of types in a file, those last whose tensors stand first."""

_ALIGNMENT = 8
"""Bytes; the number of those of the header stands before it, in as many."""


def num_bytes(
    tensors: Mapping[str, tuple[dtype, Sequence[int]]], metadata: Mapping[str, str]
) -> int:
    """Return how many bytes `write` would write, exactly, without the tensors.

    Args:
        tensors: types and shapes by name.
        metadata: texts that lie beside the tensors.
    """
    order = list(_TYPES)
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    ranked = sorted(tensors.items(), key=lambda item: (-order.index(item[1][0]), item[0]))
    for name, (kind, shape) in ranked:
        start, end = end, end + math.prod(shape) * kind.itemsize
        header[name] = {
            "dtype": _TYPES[kind],
            "shape": list(shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return _ALIGNMENT + math.ceil(len(text) / _ALIGNMENT) * _ALIGNMENT + end


def digest(tensors: Mapping[str, Tensor], text: str) -> str:
    """Return the SHA-256, in hexadecimal, of a text and of all tensors with their names."""
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        found.update(name.encode())
        # Bytes, whatever the type: numpy has no bfloat16.
        values = tensors[name].detach().contiguous().cpu().reshape(-1)
        found.update(values.view(uint8).numpy().data)
    return found.hexdigest()


def as_state_of(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors from a file as `load_state_dict` wants them.

    Modules look at the versions that a state dict says they had, and some refuse or change one
    that says none (MNASNet); files hold tensors alone, which are those of today's modules.

    Args:
        model: that has tensors of these names.
        tensors: from a file.
    """
    state = collections.OrderedDict(tensors)
    set_versions_of_modules(state, versions_of_modules(model))
    return state


def _cause(error: SafetensorError, path: Path) -> Exception:
    """Return the OSError that safetensors tells only in words, or the error itself."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(found[1]), os.strerror(int(found[1])), str(path)) if found else error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
