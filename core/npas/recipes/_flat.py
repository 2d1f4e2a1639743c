"""Layers of any shape as readings of one flat bank: what the recipes `slice` and `embed` share.

Of a part of a group the bank holds only what its layers read. How they read follows from the size
of the whole bank; what is left of it lies in the same order without gaps.

Axis letters: B scalars of the bank, N of one weight, M rows of mixing weights of one layer.
"""

import bisect
import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from npas.errors import PlanError
from npas.plans import Group
from npas.plans.windows import Reading, Upsample, reading
from npas.recipes import BankPart, Part, Reader, settings_of
from npas.recipes._buffers import buffer
from npas.recipes._flat_layouts import WAYS, FlatLayout
from npas.recipes._start import normal
from npas.spec import Spec


class FlatSettings(Spec):
    """What a plan may say of a group that reads a flat bank.

    Attributes:
        upsample: see `npas.plans.windows`.
        max_windows: most windows of one layer.
        whole: scalars of the bank of the group that this one is a part of; None: it has all.
    """

    upsample: Upsample = "interpolate"
    max_windows: int = Field(8, ge=1)
    whole: int | None = Field(None, ge=1, le=2**48)


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

    def __init__(self, group: Group, kind: type[FlatSettings] = FlatSettings) -> None:
        """Find out how the layers read the bank.

        Args:
            group: of the layers.
            kind: the settings of the recipe.

        Raises:
            PlanError: they cannot, or none reads all of it.
        """
        self._bank = bank = group.banks[0]
        self.row_length = group.row_length
        self._group = group
        self._shapes = shapes = [slot.shape for slot in group.slots]
        self._settings = settings = settings_of(group, kind)
        self.readings = _readings(group, settings)
        self._kept = _Kept(zip(shapes, self.readings, strict=True))
        longest = max(each.span for each in self.readings)
        if bank.size != (self._kept.size if settings.whole else longest):
            raise PlanError(f"group {group.name}: no layer reads all of the bank")
        self.ways: list[FlatLayout] = [
            WAYS[each.kind](shape, self._kept.moved(each), self._whole)
            for shape, each in zip(shapes, self.readings, strict=True)
        ]
        self.gains = [
            group.gain(bank, slot, mixed=False) / math.sqrt(way.power)
            for slot, way in zip(group.slots, self.ways, strict=True)
        ]
        self._weights: list[Tensor | None] = [None] * len(shapes)

    @property
    def _whole(self) -> int:
        """Return the scalars of the bank, or of the whole that it is a part of."""
        return self._settings.whole or self._bank.size

    def num_own(self, shape: tuple[int, ...]) -> int:
        """Return how many scalars of its own one layer more of a shape would have."""
        settings = {"upsample": self._settings.upsample, "max_windows": self._settings.max_windows}
        return reading(shape, self._whole, **settings).coefficients

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

    def part(self, slots: Sequence[int], owns: Sequence[int]) -> Part:
        """Return some layers with what they read of the bank, as far as that bank goes.

        Args:
            slots: indices of the layers.
            owns: scalars of its own, of every layer of the group.
        """
        ends = list(itertools.accumulate(owns, initial=0))
        made, first = [], 0
        for slot in slots:
            made.append(self._group.slots[slot].model_copy(update={"rows": (first,)}))
            first += owns[slot]
        rows = [torch.arange(ends[slot], ends[slot + 1]) for slot in slots]
        kept = _Kept((self._shapes[slot], self.readings[slot]) for slot in slots)
        scalars = torch.cat(
            [torch.arange(stop - start) + self._kept.place(start) for start, stop in kept.spans]
        )
        bank = self._bank.model_copy(update={"size": kept.size, "rows": first})
        changes = {
            "banks": (bank,),
            "slots": tuple(made),
            "settings": {**self._group.settings, "whole": self._whole},
        }
        source = BankPart(0, rows=torch.cat(rows), scalars=scalars)
        return Part(self._group.model_copy(update=changes), (source,))

    def fresh_bank(self, generator: torch.Generator) -> Tensor:
        """Return (1, B) random scalars, exactly mean 0 and the variance of the bank's shape.

        Those of a part are as independent as scalars of a large whole.
        """
        bank_B = normal((self._bank.size,), generator)
        if len(bank_B) > 1 and self._whole == len(bank_B):
            bank_B = (bank_B - bank_B.mean()) / bank_B.std(correction=0)
        return (bank_B * self._group.template_deviation(self._bank)).unsqueeze(0)


def _readings(group: Group, settings: FlatSettings) -> list[Reading]:
    """Return how the layers read the bank, or the whole of which it is a part."""
    bank, shapes = group.banks[0], [slot.shape for slot in group.slots]
    size, most = settings.whole or bank.size, settings.max_windows
    if any(size < min(math.prod(s), math.prod(s[2:])) for s in shapes):
        raise PlanError(f"group {group.name}: the bank is smaller than one kernel")
    # Before memory is taken for windows of a bank that is not there.
    if any(min(-(-size // math.prod(shape)), most) > bank.size for shape in shapes):
        raise PlanError(f"group {group.name}: the bank is too small for so many windows")
    how = settings.upsample
    return [reading(shape, size, upsample=how, max_windows=most) for shape in shapes]


class _Kept:
    """What some layers read of a bank: spans of it, one behind the other.

    Attributes:
        spans: (start, stop) in the whole bank, in order, with gaps between them.
        size: scalars of all spans.
    """

    def __init__(self, readings: Iterable[tuple[tuple[int, ...], Reading]]) -> None:
        found: list[tuple[int, int]] = []
        for start, stop in sorted(span for each in readings for span in _spans(*each)):
            if found and start <= found[-1][1]:
                found[-1] = found[-1][0], max(stop, found[-1][1])
            else:
                found.append((start, stop))
        self.spans = found
        ends = itertools.accumulate((stop - start for start, stop in found), initial=0)
        *self._places, self.size = ends

    def place(self, start: int) -> int:
        """Return where a scalar lies in what is kept; it must be one of these."""
        index = bisect.bisect_right(self.spans, (start, math.inf)) - 1
        return self._places[index] + start - self.spans[index][0]

    def moved(self, found: Reading) -> Reading:
        """Return a reading as one of what is kept."""
        return dataclasses.replace(found, starts=tuple(map(self.place, found.starts)))


def _spans(shape: tuple[int, ...], found: Reading) -> list[tuple[int, int]]:
    """Return what one layer reads, spans of the whole bank."""
    if found.kind != "windows":
        return [(0, found.span)]
    return [(start, start + math.prod(shape)) for start in found.starts]
