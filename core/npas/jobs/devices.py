"""Which device a training is done on, by its name."""

import torch

from npas.errors import InvalidSpecError
from npas.spec import AUTO


def device(name: str) -> torch.device:
    """Return a device by its name: "cpu", "cuda", "cuda:1", ...; "auto" is a GPU if there is one.

    Raises:
        InvalidSpecError: no device can be called that.
    """
    found = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.device(found if name == AUTO else name)
    except RuntimeError as error:
        message = f'device is {name!r}: give "auto", "cpu", "cuda", "cuda:1", ...'
        raise InvalidSpecError(message) from error


def model_name(device: torch.device) -> str:
    """Return what a device is called by its maker; "cpu" of a processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def peak_bytes(device: torch.device) -> int | None:
    """Return the most memory that this process held on a GPU; None of a processor."""
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None
