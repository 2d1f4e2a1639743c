"""What is rounded, and to what: weights to whole steps, all else to a few digits.

With a coder behind, the size of a file follows from the steps alone: no code is clipped, and how
many grid points there are does not matter.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from npas.plans.rounding import COARSEST, FINEST

MOST_DIGITS = 23
"""Bits of a float32's mantissa."""

LEAST_DIGITS = 5
"""Of the mantissa of what is not on a grid, beside weights of 2 to 4 bits."""

_STEP_DIGITS = 4

_LEAST_STEP = 1.176e-38
"""About the smallest normal float32: what divides by a smaller one may be 0 or infinite."""


def scales(tensors: Mapping[str, Tensor], readers: Mapping[str, float]) -> dict[str, float]:
    """Return steps of weights up to a factor that all have in common.

    The error of a template is met once per reader, and as many independent errors add up to the
    root of their number.

    Args:
        tensors: the weights, by name.
        readers: how many weights read each scalar of a tensor; 1 where nothing is said.
    """
    return {
        name: deviation(tensor) / math.sqrt(max(1.0, readers.get(name, 1.0)))
        for name, tensor in tensors.items()
    }


def by_gradients(relative: Mapping[str, float], squares: Mapping[str, float]) -> dict[str, float]:
    """Return steps up to a factor, by what an error costs where that is known.

    The loss rises by half the curvature times the squared error, and the mean squared gradient
    stands for the curvature, as in Fisher's information. With so many bits in all, that rises
    least where the steps are as 1 over the root of it. In a trial it was worth 3 to 4 points over
    `scales` (docs/decisions/0039).

    Args:
        relative: from `scales`, for those whose gradients are not known.
        squares: mean squared gradients, by name.
    """
    known = [name for name in relative if squares.get(name, 0) > 0 and relative[name] > 0]
    ratios = [math.log(relative[name] * math.sqrt(squares[name])) for name in known]
    same = math.exp(sum(ratios) / max(1, len(ratios)))
    return {**relative, **{name: same / math.sqrt(squares[name]) for name in known}}


def deviation(tensor: Tensor) -> float:
    """Return the root of the mean square of a tensor; 0 of an empty one."""
    return float(tensor.detach().double().square().mean().sqrt()) if tensor.numel() else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """What a network is rounded to.

    Attributes:
        steps: of each weight; a weight of zeros has step 1.
        digits: bits that are kept of the mantissa of all other float32, 1 to 23.
        kept: names of float32 that are not rounded.
    """

    steps: Mapping[str, float]
    digits: int
    kept: Sequence[str] = field(default_factory=list)

    def rounded(self, name: str, tensor: Tensor) -> Tensor:
        """Return a tensor of the network as the file will have it.

        Args:
            name: in the state.
            tensor: on any device.
        """
        if name in self.steps:
            return torch.round(tensor / self.steps[name]) * self.steps[name] + 0.0
        is_value = tensor.dtype == torch.float32 and name not in self.kept
        return shortened(tensor, self.digits) if is_value else tensor

    def facts(self) -> dict[str, Any]:
        """Return all of it as JSON; `Grid(**facts)` is the same."""
        return {"steps": dict(self.steps), "digits": self.digits, "kept": list(self.kept)}


def grid(factor: float, relative: Mapping[str, float], deviations: Mapping[str, float]) -> Grid:
    """Return the grid for a factor of all steps.

    Args:
        factor: of the steps.
        relative: from `scales`, or in proportion to what a weight's error costs.
        deviations: of the weights; they bound the steps.
    """
    steps = {}
    for name, scale in relative.items():
        size = deviations[name]
        step = min(max(factor * scale, FINEST * size), COARSEST * size)
        steps[name] = float(f"{max(step, _LEAST_STEP):.{_STEP_DIGITS}g}") if step > 0 else 1.0
    return Grid(steps=steps, digits=_digits(steps, deviations))


def shortened(tensor: Tensor, digits: int) -> Tensor:
    """Return float32 rounded to a few bits of their mantissa, the nearest, halves away from 0.

    Args:
        tensor: finite.
        digits: bits of the mantissa that are kept.
    """
    cut = MOST_DIGITS - digits
    if cut <= 0:
        return tensor.clone()
    bits = tensor.contiguous().view(torch.int32)
    return ((bits + (1 << (cut - 1))) & -(1 << cut)).view(torch.float32)


def _digits(steps: Mapping[str, float], deviations: Mapping[str, float]) -> int:
    """Return the digits whose error is small beside that of the weights.

    A weight rounded to steps of s deviations is off by s / sqrt(12) of its size, a value of d
    digits by at most 2 ** -(d + 1).
    """
    ratios = [math.log2(size / steps[name]) for name, size in deviations.items() if size]
    mean = sum(ratios) / max(1, len(ratios))
    return min(MOST_DIGITS, max(LEAST_DIGITS, 3 + math.ceil(mean)))
