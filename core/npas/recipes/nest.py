"""Weights put together from blocks; every block mixes the templates of its own bank.

Source: "Learning to Compose SuperWeights", WACV 2024, section 2.1, with the geometry of
`npas.plans.blocks`: the code's repeated concatenation copies a growing tensor once per block, here
every block is copied once to its place.
"""

import bisect
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import pad

from npas.errors import PlanError
from npas.plans import Group, Slot, blocks
from npas.recipes import BankInit, MatrixShape, Part, check, settings_of
from npas.recipes._buffers import buffer
from npas.recipes._growth import with_own_rows
from npas.recipes._memory_format import are_last, in_order, out_of_order, shaped
from npas.recipes._mixing import mixed
from npas.recipes._part import part_by_rows
from npas.recipes._start import BankSettings, fit_bank, fresh_bank, readers_of


class _Bank:
    """Where the template of one bank goes in the layers that read it."""

    def __init__(self, group: Group, index: int) -> None:
        self.size = group.banks[index].size
        self.rects = _rects(group)[index]
        self.kernel = group.banks[index].shape[2:]
        self.readers = [s for s, slot in enumerate(group.slots) if slot.rows[index] is not None]
        self.ends = [bisect.bisect_left(self.readers, end) for end in group.joined]
        self.is_whole = [self._reads_all(group.slots[s].shape) for s in self.readers]
        self.mixed_LD: Tensor | None = None
        self.gathered_LD: Tensor | None = None

    def _reads_all(self, shape: tuple[int, ...]) -> bool:
        """Return whether a layer reads all of the block; shapes that do not nest may not."""
        return all(math.prod(blocks.overlap(rect, shape)) == rect.area for rect in self.rects)

    def shape_of(self, rect: blocks.Rect) -> tuple[int, ...]:
        """Return the shape of what lies in a rectangle."""
        return (rect.bottom - rect.top, rect.right - rect.left, *self.kernel)

    def ordered(self, templates_KD: Tensor) -> Tensor:
        """Return templates with the scalars of each rectangle as those of weights lie."""
        return self._by_rects(templates_KD, in_order)

    def unordered(self, gradients_KD: Tensor) -> Tensor:
        """Return what was found for templates of `ordered` for the templates themselves."""
        return self._by_rects(gradients_KD, out_of_order)

    def _by_rects(
        self, scalars_KD: Tensor, turned: Callable[[Tensor, tuple[int, ...]], Tensor]
    ) -> Tensor:
        if not are_last(2 + len(self.kernel)):
            return scalars_KD
        shapes = [self.shape_of(rect) for rect in self.rects]
        parts = torch.split(scalars_KD, [math.prod(shape) for shape in shapes], dim=1)
        return torch.cat(
            [turned(part, shape) for part, shape in zip(parts, shapes, strict=True)], dim=1
        )

    def places(
        self, block_D: Tensor, weight: Tensor, shape: tuple[int, ...]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (part of the block, its place in the weight) for one reader.

        Args:
            block_D: one template's scalars.
            weight: (out, in, *kernel) of the reader.
            shape: of the weight.
        """
        for rect, piece in self.pieces(block_D, shape):
            rows, columns = piece.shape[:2]
            place = weight[rect.top : rect.top + rows, rect.left : rect.left + columns]
            yield piece, place

    def pieces(
        self, block_D: Tensor, shape: tuple[int, ...]
    ) -> Iterator[tuple[blocks.Rect, Tensor]]:
        """Yield rectangles with what a weight of a shape reads of them, (rows, columns, ...)."""
        taps = math.prod(self.kernel)
        for rect in self.rects:
            rows, columns = blocks.overlap(rect, shape)
            if not rows:
                continue
            start = rect.offset * taps
            piece = block_D[start : start + rect.area * taps]
            whole = shaped(piece, self.shape_of(rect))
            yield rect, whole[:rows, :columns]


def _rects(group: Group) -> tuple[tuple[blocks.Rect, ...], ...]:
    """Return what each bank holds: of a part of a group only what its layers read."""
    shapes = tuple(bank.shape for bank in group.banks)
    return blocks.all_within(shapes, blocks.ordered({slot.shape for slot in group.slots}))


class Nest:
    """Composer of several banks, the smallest shape first.

    Where a group is a part of another one, the shapes of its banks may be those of layers that are
    not in it: they tell which bank holds which place.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        self._shapes = [slot.shape for slot in group.slots]
        shapes = tuple(bank.shape for bank in group.banks)
        kernels = {shape[2:] for shape in (*shapes, *self._shapes)}
        is_covered = all(blocks.covers(shapes, shape) for shape in set(self._shapes))
        if shapes != blocks.ordered(set(shapes)) or len(kernels) > 1 or not is_covered:
            raise PlanError(f"group {group.name}: nest needs banks for every shape, in order")
        read = {shape: blocks.reads(shapes, shape) for shape in set(self._shapes)}
        rects = _rects(group)
        if not all(rects):
            raise PlanError(f"group {group.name}: a bank that no layer reads")
        taps = math.prod(shapes[0][2:])
        sizes = [sum(rect.area for rect in own) * taps for own in rects]
        check(group, reads=[read[shape] for shape in self._shapes], sizes=sizes)
        self._start = settings_of(group, BankSettings).coefficients
        self.readers = [readers_of(group, index) for index in range(len(group.banks))]
        self._banks = [_Bank(group, index) for index in range(len(group.banks))]
        self._ends = list(itertools.accumulate(math.prod(shape) for shape in self._shapes))
        self._weights: Tensor | None = None

    def compose(self, templates: Sequence[Tensor], mixing: Sequence[Tensor]) -> list[Tensor]:
        """Return the weights; see `Composer`."""
        made = []
        for bank, templates_KD, mixing_LK in zip(self._banks, templates, mixing, strict=True):
            size = (len(bank.readers), bank.size)
            bank.mixed_LD = buffer(bank.mixed_LD, size, templates_KD)
            ordered_KD = bank.ordered(templates_KD)
            made.append(mixed(mixing_LK, ordered_KD, bank.mixed_LD, ends=bank.ends))
        if len(made) == 1 and all(self._banks[0].is_whole):
            rows = zip(made[0], self._shapes, strict=True)
            return [shaped(row, shape) for row, shape in rows]
        self._weights = buffer(self._weights, (self._ends[-1],), templates[0])
        starts = [0, *self._ends]
        weights = [
            shaped(self._weights[start:end], shape)
            for start, end, shape in zip(starts, self._ends, self._shapes, strict=False)
        ]
        for bank, mixed_LD in zip(self._banks, made, strict=True):
            for block_D, slot in zip(mixed_LD, bank.readers, strict=True):
                for piece, place in bank.places(block_D, weights[slot], self._shapes[slot]):
                    place.copy_(piece)
        return weights

    def matrices(self) -> Sequence[Sequence[MatrixShape]]:
        """Return the rectangles of each bank, which lie one after another; see `OfMatrices`."""
        shapes = [[bank.shape_of(rect) for rect in bank.rects] for bank in self._banks]
        return [[(shape[0], math.prod(shape[1:])) for shape in own] for own in shapes]

    def unrolled(self, templates: Sequence[Tensor], mixing: Sequence[Tensor]) -> list[Tensor]:
        """Return the weights by plain operations; see `Unrolled`."""
        weights: list[Tensor | None] = [None] * len(self._shapes)
        for bank, templates_KD, mixing_LK in zip(self._banks, templates, mixing, strict=True):
            rows = (mixing_LK @ templates_KD).unbind()
            for block_D, slot in zip(rows, bank.readers, strict=True):
                for rect, piece in bank.pieces(block_D, self._shapes[slot]):
                    placed, old = _padded(piece, rect, self._shapes[slot]), weights[slot]
                    weights[slot] = placed if old is None else old + placed
        return cast(list[Tensor], weights)  # every place of every weight is covered

    def pull_back(
        self,
        templates: Sequence[Tensor],
        mixing: Sequence[Tensor],
        gradients: Sequence[Tensor | None],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the gradients; see `Composer`."""
        of_templates, of_mixing = [], []
        for bank, templates_KD, mixing_LK in zip(self._banks, templates, mixing, strict=True):
            gradients_LD = self._gathered(bank, gradients, templates_KD)
            of_templates.append(bank.unordered(mixing_LK.t() @ gradients_LD))
            of_mixing.append(gradients_LD @ bank.ordered(templates_KD).t())
        return of_templates, of_mixing

    def fresh(self, generator: torch.Generator) -> list[BankInit]:
        """Return random values; see `Composer`."""
        banks = range(len(self._group.banks))
        return [fresh_bank(self._group, index, generator, self._start) for index in banks]

    def fit(self, weights: Sequence[Tensor]) -> list[BankInit]:
        """Return near values, bank by bank by truncated SVD; see `Composer`."""
        return [
            fit_bank(
                self._group,
                index,
                self.readers[index],
                self._gathered(bank, weights, weights[0]),
                seed=index,
            )
            for index, bank in enumerate(self._banks)
        ]

    def part(self, slots: Sequence[int]) -> Part:
        """Return some layers with the parts of blocks that they read; see `Composer`.

        Banks keep their shapes: which of them holds a place, and its deviation, stay as they are.
        """
        found = part_by_rows(self._group, slots)
        taps, made, banks = math.prod(self._shapes[0][2:]), [], []
        pairs = zip(found.group.banks, found.banks, _rects(found.group), strict=True)
        for bank, source, rects in pairs:
            kept = _cells(self._banks[source.bank].rects, rects)
            scalars = (kept.unsqueeze(1) * taps + torch.arange(taps)).flatten()
            made.append(bank.model_copy(update={"size": len(scalars)}))
            banks.append(source._replace(scalars=scalars))
        return Part(found.group.model_copy(update={"banks": tuple(made)}), tuple(banks))

    def with_layer(self, slot: Slot) -> Group | None:
        """Return the group with one layer more, no larger than all blocks; see `Composer`."""
        shapes = tuple(bank.shape for bank in self._group.banks)
        if slot.shape[2:] != shapes[0][2:] or not blocks.covers(shapes, slot.shape):
            return None
        return with_own_rows(self._group, slot, blocks.reads(shapes, slot.shape))

    def _gathered(self, bank: _Bank, weights: Sequence[Tensor | None], like: Tensor) -> Tensor:
        """Return weights or their gradients cut to one bank's blocks, (L, D)."""
        shape = (len(bank.readers), bank.size)
        bank.gathered_LD = buffer(bank.gathered_LD, shape, like)
        for block_D, slot, is_whole in zip(
            bank.gathered_LD, bank.readers, bank.is_whole, strict=True
        ):
            weight = weights[slot]
            if weight is None or not is_whole:
                block_D.zero_()
            if weight is not None:
                for piece, place in bank.places(block_D, weight, self._shapes[slot]):
                    piece.copy_(place)
        return bank.gathered_LD


def _padded(piece: Tensor, rect: blocks.Rect, shape: tuple[int, ...]) -> Tensor:
    """Return a weight of a shape that is zero but where a rectangle's piece lies."""
    below = shape[0] - rect.top - piece.shape[0]
    right = shape[1] - rect.left - piece.shape[1]
    sides = (rect.left, right, rect.top, below)
    return pad(piece, (*[0, 0] * (len(shape) - 2), *sides)) if any(sides) else piece


def _cells(whole: Sequence[blocks.Rect], kept: Sequence[blocks.Rect]) -> Tensor:
    """Return where in a block the cells of some rectangles lie, row by row.

    Args:
        whole: the rectangles of the block, from the top down.
        kept: others that lie inside of them, likewise.
    """
    found, rest = [], iter(whole)
    old = next(rest)
    for new in kept:
        top = new.top
        while top < new.bottom:
            while old.bottom <= top:
                old = next(rest)
            bottom = min(new.bottom, old.bottom)
            starts = old.offset + (torch.arange(top, bottom) - old.top) * (old.right - old.left)
            columns = torch.arange(new.left, new.right) - old.left
            found.append((starts.unsqueeze(1) + columns).flatten())
            top = bottom
    return torch.cat(found)


RECIPE = Nest
