"""Tensors on disk: one safetensors file, whole or absent, also after a power cut."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


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
