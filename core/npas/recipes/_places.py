"""Scalars read at fixed random places of a source, under fixed random signs, and back again.

Axis letters: N scalars that are read, S scalars of the source.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from npas.recipes._chance import Codes


class Places:
    """Where each scalar is read, and with which sign; four bytes a scalar, see `_chance.Codes`.

    They are drawn at the first use, once: a network that is only planned, loaded or checked has
    none.
    """

    def __init__(self, draw: Callable[[], Codes]) -> None:
        """Draw nothing yet.

        Args:
            draw: gives the codes of all scalars, the same at every call.
        """
        self._draw = draw
        self._codes: Tensor | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "Places":
        """Copy: codes never change, so both have the same."""
        return copy.copy(self)

    def codes(self) -> Codes:
        """Return the codes of all scalars, drawn anew."""
        return self._draw()

    def read(self, source_S: Tensor, out_N: Tensor, *, first: int = 0) -> Tensor:
        """Write scalars, each from its place under its sign.

        Args:
            source_S: where they are read.
            out_N: as many scalars as there are to read; returned.
            first: of all scalars, which of them is the first of these.
        """
        for part, places, signs in self._parts(out_N, first):
            torch.index_select(source_S, 0, places, out=out_N[part]).mul_(signs)
        return out_N

    def put(self, values_N: Tensor, out_S: Tensor, *, first: int = 0) -> None:
        """Write values to their places, where no two have the same place: the way back."""
        for part, places, signs in self._parts(values_N, first):
            out_S.scatter_(0, places.long(), values_N[part] * signs)

    def add(self, values_N: Tensor, out_S: Tensor, *, first: int = 0) -> None:
        """Add values to what is at their places: the transpose of `read`."""
        for part, places, signs in self._parts(values_N, first):
            out_S.index_add_(0, places, values_N[part] * signs)

    def _parts(self, like_N: Tensor, first: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield places and signs (1 and -1) of a part of the scalars after the other.

        What codes become on the way stays in the processor's cache; a GPU wants large parts.
        """
        codes = self._at(like_N)
        size = 1 << (16 if like_N.device.type == "cpu" else 24)
        for start in range(0, len(like_N), size):
            stop = min(len(like_N), start + size)
            codes_N = codes[first + start : first + stop]
            sign_bits = codes_N >> 63 if codes.dtype == torch.int64 else codes_N >> 31
            yield slice(start, stop), codes_N ^ sign_bits, sign_bits | 1

    def _at(self, like_N: Tensor) -> Tensor:
        """Return all codes, on the device of a tensor."""
        if self._codes is None:
            self._codes = torch.from_numpy(self._draw())
        if self._codes.device != like_N.device:
            self._codes = self._codes.to(like_N.device)
        return self._codes
