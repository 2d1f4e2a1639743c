"""Proves that a training could run here: `python -m npas_worker.probe`.

It does what every training does, in small: reach the database, write into the home, compute on the
device. It runs in a process of its own, because a sick device can hang or kill whoever touches it,
and because whoever has touched a GPU keeps some of it.
"""

import importlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from npas_store import homes, machine
from npas_store.database import UNREACHABLE, why_unreachable
from npas_store.settings import SettingError, settings

LEAST_FREE_BYTES = 64 * 2**20


class UnfitError(Exception):
    """No training could run here; the message says why."""


def main() -> int:
    """Print what one training may use, as JSON, and return 0; else one line that says why not."""
    try:
        homes.settle()
        for folder in (settings().jobs, settings().blobs):
            write_into(folder)
        memory = compute(settings().device)
    except (SettingError, UnfitError, OSError) as error:
        sys.stdout.write(f"{error}\n")
        return 1
    except UNREACHABLE as error:
        sys.stdout.write(f"{why_unreachable(error)}\n")
        return 1
    sys.stdout.write(json.dumps({"memory_bytes": memory}) + "\n")
    return 0


def write_into(folder: Path) -> None:
    """Write a file and take it away again.

    Raises:
        UnfitError: that cannot be done, or leaves no room.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise UnfitError(f"{folder} cannot be written: {error}") from error
    if free < LEAST_FREE_BYTES:
        raise UnfitError(f"the disk of {folder} has only {free:,} bytes left")


def compute(name: str) -> int:
    """Compute something on a device, and return how many bytes of memory a training may use on it.

    Raises:
        UnfitError: the device does not work.
    """
    try:
        torch = importlib.import_module("torch")
        device = importlib.import_module("npas.jobs.devices").device(name)
        weight = torch.ones(4, 3, 3, 3, device=device, requires_grad=True)
        images = torch.ones(2, 3, 8, 8, device=device)
        torch.nn.functional.conv2d(images, weight).sum().backward()
        found = float(weight.grad.sum().cpu())
    # Drivers raise what they like, and all of it means the same.
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise UnfitError(
            f"device {name!r} does not work: {type(error).__name__}: {first}"
        ) from error
    if found != 4 * 3 * 9 * 2 * 36:
        raise UnfitError(f"device {name!r} computes wrong: {found} for {4 * 3 * 9 * 2 * 36}")
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return machine.memory_bytes()


if __name__ == "__main__":
    sys.exit(main())
