"""Layers of any shape as readings of one flat bank: what the recipes `slice` and `embed` share.

Axis letters: B scalars of the bank, N of one weight, M rows of mixing weights of one layer.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from npas.errors import PlanError
from npas.plans import Group
from npas.plans.windows import Reading, Upsample, reading
from npas.recipes import Reader, settings_of
from npas.recipes._buffers import buffer
from npas.recipes._flat_layouts import WAYS, FlatLayout
from npas.recipes._start import normal
from npas.spec import Spec


class FlatSettings(Spec):
    """What a plan may say of a group that reads a flat bank."""

    upsample: Upsample = "interpolate"
    max_windows: int = Field(8, ge=1)


class Own(NamedTuple):
    """What one layer has of its own.

    Attributes:
        ones: rows of mixing weights without a scalar of its own, before those with one.
        scalars: how many.
        gains: fixed factors of the ones, and of the rows with a scalar.
        others: rows that its slot has of other banks.
    """

    ones: int
    scalars: int
    gains: tuple[float, float]
    others: tuple[int | None, ...]


class Flat:
    """The layers of a group, each as a reading of the group's first bank.

    Attributes:
        readings: one per layer.
        ways: one per layer.
        gains: what brings each layer to its own variance.
        row_length: of the group.
    """

    def __init__(self, group: Group) -> None:
        """Find out how the layers read the bank.

        Raises:
            PlanError: they cannot, or none reads all of it.
        """
        self._bank = bank = group.banks[0]
        self._deviation = group.template_deviation(bank)
        self.row_length = group.row_length
        self._shapes = shapes = [slot.shape for slot in group.slots]
        settings = settings_of(group, FlatSettings)
        if any(bank.size < min(math.prod(s), math.prod(s[2:])) for s in shapes):
            raise PlanError(f"group {group.name}: the bank is smaller than one kernel")
        self.readings: list[Reading] = [
            reading(shape, bank.size, **settings.model_dump()) for shape in shapes
        ]
        if max(each.span for each in self.readings) < bank.size:
            raise PlanError(f"group {group.name}: no layer reads all of the bank")
        self.ways: list[FlatLayout] = [
            WAYS[each.kind](shape, each, bank.size)
            for shape, each in zip(shapes, self.readings, strict=True)
        ]
        self.gains = [
            group.gain(bank, slot, mixed=False) / math.sqrt(way.power)
            for slot, way in zip(group.slots, self.ways, strict=True)
        ]
        self._weights: list[Tensor | None] = [None] * len(shapes)

    def own(self, index: int, others: tuple[int | None, ...] = ()) -> Own:
        """Return the own coefficients of a layer, where it has any."""
        count = self.readings[index].coefficients
        gain = self.gains[index]
        return Own(self.ways[index].ones, count, (gain, gain / (self.row_length or 1.0)), others)

    def checked(self, group: Group, owns: Sequence[Own]) -> tuple[list[Reader], list[slice]]:
        """Check that the bank's rows are the layers' own scalars, in order.

        Args:
            group: of the layers.
            owns: what each layer should have.

        Returns:
            Who reads what of the bank, and the part of it that is each layer's.

        Raises:
            PlanError: rows are missing, too many, or elsewhere.
        """
        readers, parts, first = list[Reader](), list[slice](), 0
        for index, (slot, own) in enumerate(zip(group.slots, owns, strict=True)):
            if slot.rows != (first, *own.others):
                raise PlanError(f"group {group.name}: rows of {slot.layer} are not in order")
            rows = range(first, first + own.scalars)
            parts.append(slice(len(readers), len(readers) + own.ones + len(rows)))
            readers += [Reader(index, None, own.gains[0])] * own.ones
            readers += [Reader(index, row, own.gains[1]) for row in rows]
            first += own.scalars
        if self._bank.rows != first:
            raise PlanError(f"group {group.name}: the layers have {first} scalars of their own")
        return readers, parts

    def compose(self, bank_B: Tensor, mixing: Sequence[Tensor]) -> list[Tensor]:
        """Return the weights for (M,) mixing weights of every layer."""
        composed = []
        for index, (shape, way) in enumerate(zip(self._shapes, self.ways, strict=True)):
            weight_N = buffer(self._weights[index], (math.prod(shape),), bank_B)
            way.compose(bank_B, mixing[index], weight_N)
            self._weights[index] = weight_N
            composed.append(weight_N.view(shape))
        return composed

    def pull_back(
        self, bank_B: Tensor, mixing: Sequence[Tensor], gradients: Sequence[Tensor | None]
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Return the gradients of the bank and of every layer's mixing weights.

        Args:
            bank_B: as in `compose`.
            mixing: as in `compose`.
            gradients: one per weight; where it is None, so is that of the mixing weights.
        """
        of_bank_B = torch.zeros_like(bank_B)
        of_mixing = [
            None if g is None else way.pull_back(bank_B, mixing_M, g.reshape(-1), of_bank_B)
            for way, mixing_M, g in zip(self.ways, mixing, gradients, strict=True)
        ]
        return of_bank_B, of_mixing

    def fresh_bank(self, generator: torch.Generator) -> Tensor:
        """Return (1, B) random scalars, exactly mean 0 and the variance of the bank's shape."""
        bank_B = normal((self._bank.size,), generator)
        if len(bank_B) > 1:
            bank_B = (bank_B - bank_B.mean()) / bank_B.std(correction=0)
        return (bank_B * self._deviation).unsqueeze(0)
