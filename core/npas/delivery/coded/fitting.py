"""The steps that make a file as large as it may be: one factor of them all, found by search."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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

_MOST_TRIES = 10

_APART = 1.03
"""How much finer some tensors are tried where the coder jumps: equal grids jump together."""

_NEAR = 1.002
"""How much coarser all tensors are tried, again and again, where that did not help."""


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

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        relative: Mapping[str, float],
        kept: Sequence[str] = (),
    ) -> None:
        """Measure the weights.

        Args:
            tensors: state of the network.
            relative: steps of its weights up to a factor, see `npas.delivery.coded.grid.scales`.
            kept: names of float32 that are not rounded.

        Raises:
            CheckpointError: a weight is no number.
        """
        self._weights = {name: tensors[name].detach().reshape(-1).float() for name in relative}
        for name, weight in self._weights.items():
            if not bool(weight.isfinite().all()):
                raise CheckpointError(f"a weight of {name} is not a finite number")
        self._deviations = {name: deviation(each) for name, each in self._weights.items()}
        self._relative, self._kept = dict(relative), kept

    def grid(self, factor: float) -> Grid:
        """Return the grid for a factor."""
        return replace(grid(factor, self._relative, self._deviations), kept=self._kept)

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


class _Tries:
    """Files of one network that were made, to find the one that fits best.

    Attributes:
        budget: bytes of the file.
        best: the largest that fits, with its grid and its bytes; None before there is one.
        least: bytes of the smallest of all.
    """

    def __init__(
        self, tensors: Mapping[str, Tensor], note: Mapping[str, Any], budget: int
    ) -> None:
        self.budget = budget
        self.best: tuple[int, Grid, Content] | None = None
        self.least: int | None = None
        self._tensors, self._note = tensors, note

    def size(self, tried: Grid) -> int:
        """Return the bytes of the file for a grid."""
        content = Content.of(self._tensors, tried)
        size = content.num_bytes(self._note)
        self.least = size if self.least is None else min(size, self.least)
        if size <= self.budget and (self.best is None or size > self.best[0]):
            self.best = size, tried, content
        return size

    def is_filled(self, share: float) -> bool:
        """Tell whether the best file fills such a share of the budget."""
        return self.best is not None and self.best[0] >= share * self.budget


def fitted(
    tensors: Mapping[str, Tensor],
    relative: Mapping[str, float],
    note: Mapping[str, Any],
    budget: int,
    *,
    kept: Sequence[str] = (),
) -> Fitted:
    """Round a network so that its file is as large as it may be.

    Args:
        tensors: its state.
        relative: steps of its weights up to a factor, see `npas.delivery.coded.grid.scales`.
        note: the plan and what lies beside it, JSON.
        budget: bytes of the whole file.
        kept: names of float32 that are not rounded.

    Raises:
        CheckpointError: the file is larger with the coarsest steps; the message says how large.
        MissingPackageError: brotli is not installed.
    """
    sizes, tries = Sizes(tensors, relative, kept), _Tries(tensors, note, budget)
    others = {name: each for name, each in tensors.items() if name not in relative}
    rest = Content.of(others, Grid(steps={}, digits=LEAST_DIGITS, kept=kept)).num_bytes(note)
    low, high = _search(sizes, tries, rest + ROW_BYTES * len(relative))
    if tries.best is None:
        tries.size(sizes.grid(sizes.range()[1]))
    if tries.best is None:
        raise CheckpointError(
            f"{budget:,} bytes are too few for this network: its file takes {tries.least:,} bytes "
            "or more; raise the budget, or plan the network for it"
        )
    if not tries.is_filled(LEAST_SHARE) and low > sizes.range()[0]:
        _search_between(tries, sizes.grid(low / _APART), sizes.grid(high))
        _search_near(sizes, tries, high)
    size, found, content = tries.best
    why = ""
    if not tries.is_filled(LEAST_SHARE):
        why = f"steps are as fine as they get, 1/{1 / FINEST:g} of a deviation"
        if found.steps != sizes.grid(sizes.range()[0]).steps:
            why = "the next finer steps make a file that is larger than the budget"
    return Fitted(grid=found, content=content, note=note, file_bytes=size, why_less=why)


def _search(sizes: Sizes, tries: _Tries, rest: int) -> tuple[float, float]:
    """Try factors until one fills the budget: by entropy, and by halves where that is off.

    Args:
        sizes: of the network.
        tries: where its files are made.
        rest: about how many bytes of the file are not weights.

    Returns:
        Factors between which the best one is: files are too large with the first.
    """
    low, high = sizes.range()
    budget, aim = tries.budget, _AIM * tries.budget
    is_small = rest + sizes.weight_bytes(low) < _ENOUGH * budget
    if is_small and tries.size(sizes.grid(low)) <= budget:
        return low, high
    entropy, slope = (aim - rest) / CODER, 1 / CODER
    before: tuple[float, int] | None = None
    for turn in range(_MOST_TRIES):
        factor = sizes.factor_for(entropy)
        if turn > _MOST_TRIES // 2 or not low < factor < high:
            factor = math.sqrt(low * high)
        size = tries.size(sizes.grid(factor))
        low, high = (factor, high) if size > budget else (low, factor)
        if tries.is_filled(_ENOUGH):
            break
        found = sizes.weight_bytes(factor)
        if before is not None and (size - before[1]) * (found - before[0]) > 0:
            slope = (found - before[0]) / (size - before[1])
        before = found, size
        entropy = found + (aim - size) * slope
    return low, high


def _search_between(tries: _Tries, fine: Grid, coarse: Grid) -> None:
    """Try grids that are fine for some tensors: where the coder jumps over what would fit.

    Brotli chooses among ways to code, so that one weight more can change the size by a percent.

    Args:
        tries: where files are made.
        fine: too large.
        coarse: fits.
    """
    names = list(coarse.steps)
    for count in range(1, min(len(names), _MOST_TRIES)):
        chosen = names[:: count + 1]
        steps = {**coarse.steps, **{name: fine.steps[name] for name in chosen}}
        tries.size(replace(coarse, steps=steps))
        if tries.is_filled(LEAST_SHARE):
            return


def _search_near(sizes: Sizes, tries: _Tries, factor: float) -> None:
    """Try factors a little larger than one that nearly fits: sizes jump both ways there."""
    for turn in range(1, _MOST_TRIES + 1):
        if tries.is_filled(LEAST_SHARE):
            return
        tries.size(sizes.grid(factor * _NEAR**turn))


def _entropy(weights: Tensor, step: float) -> float:
    """Return the bits of all weights of a tensor as whole steps, by their entropy."""
    if not weights.numel():
        return 0.0
    codes = torch.round(weights / step).to(torch.int64)
    counts = torch.bincount(codes - codes.min()).double()
    shares = counts[counts > 0] / len(weights)
    return -float((shares * shares.log2()).sum()) * len(weights)
