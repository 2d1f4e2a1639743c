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
