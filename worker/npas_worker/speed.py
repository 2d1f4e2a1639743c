"""How fast this machine trains: a small network's steps, timed in less than a second.

The first estimates are made of this, before anything was trained here.
"""

import importlib
import statistics
import time
from typing import Any

_BLOCKS = 6
_STEPS = 3
_LOOPS = ((4, 16, 8), (16, 32, 32))
"""Images, channels and side: one whose steps are calls, one whose steps are products."""

_OF_A_BLOCK, _OF_THE_REST = 5, 1
"""Operations of a forward pass, as `npas.arch.footprint` counts them."""


def loops(device: Any) -> list[dict[str, Any]]:
    """Return what a step of each loop computes, and the seconds that it takes.

    Args:
        device: of torch.

    Returns:
        "parts" as `npas_store.estimates.parts_of` has them, and "seconds".
    """
    return [{"parts": parts(*sizes), "seconds": _seconds(device, *sizes)} for sizes in _LOOPS]


def parts(images: int, channels: int, side: int) -> list[int]:
    """Return operations, multiply-adds and kept bytes of a step; a backward pass counts as two.

    Args:
        images: of the batch.
        channels: of every layer.
        side: of the images, pixels.
    """
    cells = images * side * side
    operations = _BLOCKS * _OF_A_BLOCK + _OF_THE_REST
    macs = _BLOCKS * cells * channels * channels * 9
    kept = 4 * cells * channels * (2 * _BLOCKS + 1)
    return [3 * operations, 3 * macs, 3 * kept]


def network(torch: Any, channels: int) -> Any:
    """Return the network of a loop: blocks of a convolution, a norm and an activation.

    Args:
        torch: the module, which takes seconds to be imported.
        channels: of every layer.
    """
    nn = torch.nn
    blocks = [
        layer
        for _ in range(_BLOCKS)
        for layer in (
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
    ]
    return nn.Sequential(*blocks)


def _seconds(device: Any, images: int, channels: int, side: int) -> float:
    torch = importlib.import_module("torch")
    model = network(torch, channels).to(device)
    batch = torch.ones(images, channels, side, side, device=device)
    taken = []
    for _ in range(1 + _STEPS):
        started = time.perf_counter()
        model.zero_grad()
        loss = model(batch).mean()
        loss.backward()
        with torch.no_grad():  # by hand: an optimiser takes seconds to be imported
            for parameter in model.parameters():
                parameter.sub_(parameter.grad, alpha=0.001)
        float(loss.detach().cpu())  # waits for the device
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])
