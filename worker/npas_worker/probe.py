"""Proves that a training could run here: `python -m npas_worker.probe [--speed]`.

It does what every training does, in small: reach the database, write into the home, compute on the
device; and says how fast that is, if that is asked for and was not found out lately. It runs in a
process of its own, because a sick device can hang or kill whoever touches it, and because whoever
has touched a GPU keeps some of it.
"""

import importlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from npas_store import estimates, homes, machine, measurements
from npas_store.database import UNREACHABLE, reading, why_unreachable
from npas_store.room import LEAST_FREE_BYTES
from npas_store.settings import SettingError, settings

from npas_worker import speed

SPEED = "--speed"
_LATELY_HOURS = 24


class UnfitError(Exception):
    """No training could run here; the message says why."""


def main() -> int:
    """Print what one training may use, as JSON, and return 0; else one line that says why not."""
    try:
        homes.settle()
        for folder in (settings().jobs, settings().blobs, settings().datasets):
            write_into(folder)
        found = compute(settings().device)
        if SPEED in sys.argv[1:] and not is_measured(found["machine"]):
            found |= {"speed": measure(settings().device, settings().threads)}
    except (SettingError, UnfitError, OSError) as error:
        sys.stdout.write(f"{error}\n")
        return 1
    except UNREACHABLE as error:
        sys.stdout.write(f"{why_unreachable(error)}\n")
        return 1
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def is_measured(machine: str) -> bool:
    """Tell whether a worker of this machine was timed lately: it need not wait for it again."""
    with reading() as session:
        return measurements.is_known(session, machine, measurements.PROBE, hours=_LATELY_HOURS)


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


def compute(name: str) -> dict[str, Any]:
    """Compute something on a device.

    Returns:
        `memory_bytes`, what a training may use on it, and `machine`, as measurements name it.

    Raises:
        UnfitError: the device does not work.
    """
    try:
        torch = importlib.import_module("torch")
        devices = importlib.import_module("npas.jobs.devices")
        device = devices.device(name)
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
    is_gpu = device.type == "cuda"
    return {
        "memory_bytes": int(torch.cuda.get_device_properties(device).total_memory)
        if is_gpu
        else machine.memory_bytes(),
        "machine": machine.named(devices.model_name(device), settings().threads),
    }


def measure(name: str, threads: int) -> dict[str, Any]:
    """Return how fast a device trains, and what this process took to get there: measurements.

    Args:
        name: of a device that works.
        threads: of the processor, that a training uses.
    """
    started = machine.process_seconds()
    torch = importlib.import_module("torch")
    device = importlib.import_module("npas.jobs.devices").device(name)
    torch.set_num_threads(threads)
    return {
        "format": estimates.FORMAT,
        "loops": speed.loops(device),
        "whole_seconds": started,
        "memory_bytes": machine.peak_memory_bytes() if device.type == "cpu" else None,
    }


if __name__ == "__main__":
    sys.exit(main())
