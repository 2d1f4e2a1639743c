"""How long networks take for one image on this machine, measured."""

import statistics
import time

import torch
from torch import Tensor, nn

_FIRST = 3
"""Passes that do not count: what is done once is done in them."""

_LEAST, _MOST = 5, 1000
"""Passes that count, however long they take."""


def milliseconds(network: nn.Module, image: Tensor, *, seconds: float = 0.2) -> float:
    """Return the median time of a forward pass of one image, in milliseconds.

    Args:
        network: in evaluation mode, with its weights in place.
        image: as the network reads it `(1, C, S, S)`, on the network's device.
        seconds: to measure for; at least five passes are.
    """
    taken: list[float] = []
    with torch.inference_mode():
        for _ in range(_FIRST):
            network(image)
        while len(taken) < _MOST and (len(taken) < _LEAST or sum(taken) < seconds):
            began = _now(image)
            network(image)
            taken.append(_now(image) - began)
    return 1000 * statistics.median(taken)


def _now(image: Tensor) -> float:
    """Return the time when all that was asked of the device is done."""
    if image.is_cuda:
        torch.cuda.synchronize(image.device)
    return time.perf_counter()
