"""The steps that make a file as large as it may be: one factor of them all, found by search."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npas.delivery.coded.file import Content
from npas.delivery.coded.grid import LEAST_DIGITS, Grid, deviation, grid
from npas.errors import CheckpointError
from npas.plans.rounding import COARSEST, FINEST

LEAST_SHARE = 0.995
"""Of a budget, that a file fills at least, unless no finer step would change anything."""

_ENOUGH, _AIM = 0.9965, 0.9985
"""Of a budget: what ends the search, and what it aims at."""

CODER = 1.012
"""What brotli makes of weights, over their entropy; the first guess, measured from then on."""

_MOST_TRIES = 12

ROW_BYTES = 8
"""Of a weight's row in the table, coded; a guess."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """A network rounded so that its file fits.

    Attributes:
        grid: what it is rounded to.
        content: of the file.
        note: that it was fitted with.
        file_bytes: of the file with that note.
        why_less: why it is smaller than `LEAST_SHARE` of the budget; "" where it is not.
    """

    grid: Grid
    content: Content
    note: Mapping[str, Any]
    file_bytes: int
    why_less: str

    def write(self, path: Path) -> None:
        """Write the file, in one step; OSError where it cannot be."""
        self.content.write(self.note, path)


class Sizes:
    """Sizes of a network's file by the factor of its steps, estimated without coding it."""

    def __init__(self, tensors: Mapping[str, Tensor], relative: Mapping[str, float]) -> None:
        """Measure the weights.

        Args:
            tensors: state of the network.
            relative: steps of its weights up to a factor, see `npas.delivery.coded.grid.scales`.
        """
        self._weights = {name: tensors[name].detach().reshape(-1).float() for name in relative}
        self._deviations = {name: deviation(each) for name, each in self._weights.items()}
        self._relative = dict(relative)

    def grid(self, factor: float) -> Grid:
        """Return the grid for a factor."""
        return grid(factor, self._relative, self._deviations)

    def range(self) -> tuple[float, float]:
        """Return the factors below and above which no step changes any more."""
        pairs = [(self._deviations[n], s) for n, s in self._relative.items() if s > 0]
        ratios = [size / scale for size, scale in pairs] or [1.0]
        return FINEST * min(ratios), COARSEST * max(ratios)

    def weight_bytes(self, factor: float) -> float:
        """Return the entropy of all weights on the grid of a factor, in bytes."""
        steps = self.grid(factor).steps
        return sum(_entropy(w, steps[name]) for name, w in self._weights.items()) / 8

    def factor_for(self, weight_bytes: float, *, tries: int = 20) -> float:
        """Return the factor for which the weights take so many bytes, by their entropy."""
        low, high = (math.log(each) for each in self.range())
        for _ in range(tries):
            middle = (low + high) / 2
            is_large = self.weight_bytes(math.exp(middle)) > weight_bytes
            low, high = (middle, high) if is_large else (low, middle)
        return math.exp(high)


def fitted(
    tensors: Mapping[str, Tensor],
    relative: Mapping[str, float],
    note: Mapping[str, Any],
    budget: int,
) -> Fitted:
    """Round a network so that its file is as large as it may be.

    Args:
        tensors: its state.
        relative: steps of its weights up to a factor, see `npas.delivery.coded.grid.scales`.
        note: the plan and what lies beside it, JSON.
        budget: bytes of the whole file.

    Raises:
        CheckpointError: the file is larger with the coarsest steps; the message says how large.
        MissingPackageError: brotli is not installed.
    """
    sizes = Sizes(tensors, relative)
    tried: dict[float, tuple[int, Content]] = {}

    def measured(factor: float) -> int:
        if factor not in tried:
            content = Content.of(tensors, sizes.grid(factor))
            tried[factor] = content.num_bytes(note), content
        return tried[factor][0]

    others = {name: each for name, each in tensors.items() if name not in relative}
    whole = Content.of(others, Grid(steps={}, digits=LEAST_DIGITS))
    _search(sizes, measured, budget, whole.num_bytes(note) + ROW_BYTES * len(relative))
    if all(size > budget for size, _ in tried.values()):
        measured(sizes.range()[1])
    fitting = {factor: found for factor, found in tried.items() if found[0] <= budget}
    if not fitting:
        least = min(size for size, _ in tried.values())
        raise CheckpointError(
            f"{budget:,} bytes are too few for this network: its file takes {least:,} bytes or "
            "more; raise the budget, or plan the network for it"
        )
    factor, (size, content) = max(fitting.items(), key=lambda pair: (pair[1][0], -pair[0]))
    is_filled = size >= LEAST_SHARE * budget
    why = "" if is_filled else f"steps are as fine as they get, 1/{1 / FINEST:g} of a deviation"
    return Fitted(
        grid=sizes.grid(factor), content=content, note=note, file_bytes=size, why_less=why
    )


def _search(sizes: Sizes, measured: Callable[[float], int], budget: int, rest: int) -> None:
    """Measure factors until one fills the budget: by entropy, and by halves where that is off.

    Args:
        sizes: of the network.
        measured: returns the bytes of the file for a factor.
        budget: bytes of the file.
        rest: about how many bytes of the file are not weights.
    """
    low, high = sizes.range()
    aim = _AIM * budget
    if rest + sizes.weight_bytes(low) < _ENOUGH * budget and measured(low) <= budget:
        return
    entropy, slope = (aim - rest) / CODER, 1 / CODER
    before: tuple[float, int] | None = None
    for turn in range(_MOST_TRIES):
        factor = sizes.factor_for(entropy)
        if turn > _MOST_TRIES // 2 or not low < factor < high:
            factor = math.sqrt(low * high)
        size = measured(factor)
        if _ENOUGH * budget <= size <= budget:
            return
        low, high = (factor, high) if size > budget else (low, factor)
        found = sizes.weight_bytes(factor)
        if before is not None and (size - before[1]) * (found - before[0]) > 0:
            slope = (found - before[0]) / (size - before[1])
        before = found, size
        entropy = found + (aim - size) * slope


def _entropy(weights: Tensor, step: float) -> float:
    """Return the bits of all weights of a tensor as whole steps, by their entropy."""
    if not weights.numel():
        return 0.0
    codes = torch.round(weights / step).to(torch.int64)
    counts = torch.bincount(codes - codes.min()).double()
    shares = counts[counts > 0] / len(weights)
    return -float((shares * shares.log2()).sum()) * len(weights)
