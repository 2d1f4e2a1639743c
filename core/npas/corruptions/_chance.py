"""Draws for a batch of images, each from a stream of its own."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from npas import seeds

Draw = Callable[[Tensor, torch.Generator], object]


class Chance:
    """Where a corruption gets its random numbers from; streams are made when first used.

    Args:
        place: of the corruption, see `npas.seeds`.
        indices: one per image of the batch.
    """

    def __init__(self, place: tuple[int | str, ...], indices: range) -> None:
        self._place = place
        self._indices = indices

    @cached_property
    def _streams(self) -> list[torch.Generator]:
        return [seeds.generator(*self._place, index) for index in self._indices]

    def _filled(self, shape: tuple[int, ...], draw: Draw) -> Tensor:
        drawn = torch.empty(len(self._indices), *shape)
        for row, stream in zip(drawn, self._streams, strict=True):
            draw(row, stream)
        return drawn

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return float `(N, *shape)`, even from low to high."""
        return self._filled(shape, lambda row, stream: row.uniform_(low, high, generator=stream))

    def normal(self, *shape: int) -> Tensor:
        """Return float `(N, *shape)` of mean 0 and deviation 1."""
        return self._filled(shape, lambda row, stream: row.normal_(generator=stream))

    def integers(self, *shape: int, low: int, end: int) -> Tensor:
        """Return int64 `(N, *shape)` from low to end - 1."""
        drawn = self._filled(shape, lambda row, stream: row.random_(low, end, generator=stream))
        return drawn.long()

    def poisson(self, rates: Tensor) -> Tensor:
        """Return counts as float, shaped as their expected values `(N, ...)`."""
        pairs = zip(rates, self._streams, strict=True)
        drawn = [torch.poisson(row, generator=stream) for row, stream in pairs]
        return torch.stack(drawn) if drawn else rates
