"""Weights put together from equal blocks, each with a mix of its own of the same few templates.

Source: "Learning to Compose SuperWeights", WACV 2024, section 2.1: templates are mixed into
blocks, blocks are concatenated along both channel axes into a layer's weight. There a layer reads
one block per bank and banks are as large as layers; here all blocks are as small as the budget
wants, and a layer has as many of them as it needs: ceil(out / block out) x ceil(in / block in),
cropped at the lower and right border, each with its own row of coefficients. With `shuffled`,
every block puts its scalars in a fixed random order under fixed random signs, so that few
templates make many different blocks: the idea of random sharing (recipe `scatter`), at the level
of blocks and after the mix.
"""

import functools
import math
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from npas.errors import PlanError
from npas.plans import Group, Slot
from npas.plans.blocks import MOST_PADDING, num_blocks
from npas.recipes import BankInit, BankPart, MatrixShape, Part, Reader, settings_of
from npas.recipes._buffers import buffer
from npas.recipes._chance import shuffled_rows
from npas.recipes._growth import grown
from npas.recipes._memory_format import in_order, out_of_order, packed, rows_shaped, shaped
from npas.recipes._mixing import mixed
from npas.recipes._places import Places
from npas.recipes._start import fit_bank, fresh_bank
from npas.spec import Spec


class StackSettings(Spec):
    """What a plan may say of a stack.

    Attributes:
        shuffled: seed of the blocks' fixed orders and signs; None: blocks are as they are mixed.
    """

    shuffled: int | None = Field(None, ge=0, lt=2**31)


MOST_OF_PART = 256
"""How many times its own scalars the blocks of a part of a group may have together: of small
layers that came from a group with large ones, which blocks are for."""

_FARTHEST = 2**62
"""Scalars of blocks that are passed over before those of a part."""


class Stack:
    """Composer of one bank; a slot's row is the first of its blocks' rows, outputs first.

    Slots with as many blocks may have the same rows.
    """

    def __init__(self, group: Group) -> None:
        bank = group.banks[0]
        self._group = group
        self._shapes = [slot.shape for slot in group.slots]
        if len(group.banks) > 1 or any(shape[2:] != bank.shape[2:] for shape in self._shapes):
            raise PlanError(f"group {group.name}: stack needs one bank, of its layers' kernel")
        settings = settings_of(group, StackSettings)
        if bank.size != math.prod(bank.shape):
            raise PlanError(f"group {group.name}: the size does not fit the block")
        self._counts = [num_blocks(shape, bank.shape) for shape in self._shapes]
        self._firsts = [0]
        for high, wide in self._counts:
            self._firsts.append(self._firsts[-1] + high * wide)
        self._row_of = _checked_rows(group, self._counts)
        self._check_block(is_shuffled=settings.shuffled is not None)
        self.readers = [
            [
                Reader(number, self._row_of[number] + block, group.gain(bank, slot, mixed=True))
                for number, slot in enumerate(group.slots)
                for block in range(self._firsts[number + 1] - self._firsts[number])
            ]
        ]
        self._shuffle: Places | None = None
        if settings.shuffled is not None:
            runs = [
                (first if slot.place is None else slot.place, high * wide)
                for slot, first, (high, wide) in zip(
                    group.slots, self._row_of, self._counts, strict=True
                )
            ]
            if any((first + count) * bank.size > _FARTHEST for first, count in runs):
                raise PlanError(f"group {group.name}: a layer's place is too far away")
            order = functools.partial(shuffled_rows, runs, bank.size, settings.shuffled)
            self._shuffle = Places(order)
        self._mixed_MD: Tensor | None = None
        self._gathered_MD: Tensor | None = None
        self._weights: list[Tensor | None] = [None] * len(self._shapes)

    @property
    def _block(self) -> tuple[int, ...]:
        return self._group.banks[0].shape

    def _check_block(self, *, is_shuffled: bool) -> None:
        """Check that the block is not larger than its layers ask for.

        In a part of a group, whose layers say where they stood, it is for others too.
        """
        group, bank = self._group, self._group.banks[0]
        is_part = all(slot.place is not None for slot in group.slots)
        most = MOST_PADDING * group.num_dense
        if is_part:
            most = max(most, MOST_OF_PART * group.num_parameters)
        if self._firsts[-1] * bank.size > most:
            raise PlanError(f"group {group.name}: the block is too large for most of its layers")
        if is_part and is_shuffled:
            return
        reaches = [(s[0] >= bank.shape[0], s[1] >= bank.shape[1]) for s in self._shapes]
        is_read = all(map(any, zip(*reaches, strict=True))) if is_part else (True, True) in reaches
        if not is_read:
            raise PlanError(f"group {group.name}: the block is larger than every layer")

    def compose(self, templates: Sequence[Tensor], mixing: Sequence[Tensor]) -> list[Tensor]:
        """Return the weights; see `Composer`."""
        (templates_KD,), (mixing_MK,) = templates, mixing
        shape = (mixing_MK.shape[0], templates_KD.shape[1])
        self._mixed_MD = buffer(self._mixed_MD, shape, templates_KD)
        ends = [self._firsts[count] for count in self._group.joined]
        ordered_KD = self._ordered(templates_KD)
        mixed_MD = mixed(mixing_MK, ordered_KD, self._mixed_MD, ends=ends)
        return [self._laid_out(slot, mixed_MD) for slot in range(len(self._shapes))]

    def matrices(self) -> Sequence[Sequence[MatrixShape]]:
        """Return the block, none where its scalars are shuffled; see `OfMatrices`."""
        block = self._block
        return [[(block[0], math.prod(block[1:]))] if self._shuffle is None else []]

    def unrolled(
        self, templates: Sequence[Tensor], mixing: Sequence[Tensor]
    ) -> list[Tensor] | None:
        """Return the weights by plain operations, None for shuffled blocks; see `Unrolled`."""
        if self._shuffle is not None:
            return None
        rows_MD = mixing[0] @ templates[0]
        return [self._put_together(slot, rows_MD) for slot in range(len(self._shapes))]

    def _put_together(self, slot: int, rows_MD: Tensor) -> Tensor:
        """Return one weight of its blocks, in new memory."""
        shape, blocks = self._shapes[slot], self._blocks(slot, self._rows(slot, rows_MD))
        padded = blocks.transpose(1, 2).reshape(self._padded(slot))
        return padded[: shape[0], : shape[1]]

    def _ordered(self, templates_KD: Tensor) -> Tensor:
        """Return templates as blocks lie; shuffled ones are read at places of the one order."""
        return templates_KD if self._shuffle else in_order(templates_KD, self._block)

    def _laid_out(self, slot: int, mixed_MD: Tensor) -> Tensor:
        """Return one weight with its blocks in their places."""
        shape, padded, rows_RD = self._shapes[slot], self._padded(slot), self._rows(slot, mixed_MD)
        if self._shuffle is not None:
            ordered = torch.empty_like(rows_RD)
            self._shuffle.read(mixed_MD.view(-1), ordered.view(-1), first=self._first(slot))
            rows_RD = ordered
        memory = buffer(self._weights[slot], (math.prod(padded),), mixed_MD)
        self._weights[slot] = memory
        weight = shaped(memory, padded)
        weight.view(self._split(slot)).copy_(self._blocks(slot, rows_RD).transpose(1, 2))
        if padded == shape:
            return weight
        return packed(weight[: shape[0], : shape[1]])

    def _rows(self, slot: int, rows_MD: Tensor) -> Tensor:
        """Return a view of the rows of one slot's R blocks."""
        return rows_MD[self._firsts[slot] : self._firsts[slot + 1]]

    def _first(self, slot: int) -> int:
        """Return which scalar of all blocks is the slot's first."""
        return self._firsts[slot] * self._group.banks[0].size

    def _blocks(self, slot: int, rows_RD: Tensor) -> Tensor:
        """Return a view of one slot's rows: (high, wide, block out, block in, taps)."""
        block = self._block
        blocks = rows_RD.view(-1, *block) if self._shuffle else rows_shaped(rows_RD, block)
        return blocks.view(*self._counts[slot], *block[:2], -1)

    def _padded(self, slot: int) -> tuple[int, ...]:
        high, wide = self._counts[slot]
        return (high * self._block[0], wide * self._block[1], *self._block[2:])

    def _split(self, slot: int) -> tuple[int, ...]:
        high, wide = self._counts[slot]
        return (high, self._block[0], wide, self._block[1], math.prod(self._block[2:]))

    def pull_back(
        self,
        templates: Sequence[Tensor],
        mixing: Sequence[Tensor],
        gradients: Sequence[Tensor | None],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the gradients; see `Composer`."""
        (templates_KD,), (mixing_MK,) = templates, mixing
        gradients_MD = self._gathered(gradients, templates_KD)
        of_templates_KD = mixing_MK.t() @ gradients_MD
        if self._shuffle is None:
            of_templates_KD = out_of_order(of_templates_KD, self._block)
        return [of_templates_KD], [gradients_MD @ self._ordered(templates_KD).t()]

    def fresh(self, generator: torch.Generator) -> list[BankInit]:
        """Return random values; see `Composer`."""
        return [fresh_bank(self._group, 0, generator)]

    def fit(self, weights: Sequence[Tensor]) -> list[BankInit]:
        """Return the nearest values, by truncated SVD of all blocks; see `Composer`."""
        gathered_MD = self._gathered(weights, weights[0])
        return [fit_bank(self._group, 0, self.readers[0], gathered_MD)]

    def part(self, slots: Sequence[int]) -> Part:
        """Return some layers with the rows of their blocks; see `Composer`.

        The block is cut to what is read of it, but for shuffled ones, which are read anywhere.
        """
        group, bank = self._group, self._group.banks[0]
        made: list[Slot] = []
        firsts: dict[int, int] = {}
        rows: list[Tensor] = []
        count = 0
        for index in slots:
            slot, first = group.slots[index], self._row_of[index]
            if first not in firsts:
                firsts[first] = count
                number = math.prod(self._counts[index])
                rows.append(torch.arange(first, first + number))
                count += number
            place = first if slot.place is None else slot.place
            made.append(slot.model_copy(update={"rows": (firsts[first],), "place": place}))
        block, scalars = bank.shape, torch.arange(bank.size)
        if self._shuffle is None:
            sides = zip(*(slot.shape[:2] for slot in made), strict=True)
            high, wide = (min(max(own), side) for own, side in zip(sides, block, strict=False))
            block = (high, wide, *block[2:])
            scalars = scalars.view(*bank.shape[:2], -1)[:high, :wide].flatten()
        kept = bank.model_copy(update={"shape": block, "size": len(scalars), "rows": count})
        deviation = group.deviation if block == bank.shape else group.template_deviation(bank)
        changes = {"banks": (kept,), "slots": tuple(made), "deviation": deviation}
        source = BankPart(0, rows=torch.cat(rows), scalars=scalars)
        return Part(group.model_copy(update=changes), (source,))

    def with_layer(self, slot: Slot) -> Group | None:
        """Return the group with one layer more, of the same kernel; see `Composer`."""
        if slot.shape[2:] != self._block[2:]:
            return None
        bank, count = self._group.banks[0], math.prod(num_blocks(slot.shape, self._block))
        wider = bank.model_copy(update={"rows": bank.rows + count})
        return grown(self._group, slot, (bank.rows,), banks=(wider,))

    def _gathered(self, weights: Sequence[Tensor | None], like: Tensor) -> Tensor:
        """Return weights or their gradients as rows of blocks, (M, D), zeros behind borders."""
        size = (self._firsts[-1], math.prod(self._block))
        self._gathered_MD = buffer(self._gathered_MD, size, like)
        for slot, weight in enumerate(weights):
            rows_RD = self._rows(slot, self._gathered_MD)
            if weight is None:
                rows_RD.zero_()
            elif self._shuffle is None:
                self._blocks(slot, rows_RD).copy_(self._cut(slot, weight))
            else:
                ordered = torch.empty_like(rows_RD)
                self._blocks(slot, ordered).copy_(self._cut(slot, weight))
                whole = self._gathered_MD.view(-1)
                self._shuffle.put(ordered.view(-1), whole, first=self._first(slot))
        return self._gathered_MD

    def _cut(self, slot: int, weight: Tensor) -> Tensor:
        """Return a weight as `_blocks` has it, zeros behind borders."""
        high, wide = self._padded(slot)[:2]
        flat = weight.reshape(*weight.shape[:2], -1)
        if flat.shape[:2] != (high, wide):
            padding = (0, 0, 0, wide - flat.shape[1], 0, high - flat.shape[0])
            flat = torch.nn.functional.pad(flat, padding)
        return flat.reshape(self._split(slot)).transpose(1, 2)


def _checked_rows(group: Group, counts: Sequence[tuple[int, int]]) -> list[int]:
    """Return the first row of each slot: behind those before it, or what an equal one has.

    Raises:
        PlanError: rows are missing, too many, or elsewhere.
    """
    firsts: dict[int, tuple[int, int]] = {}
    found, count = [], 0
    for slot, own in zip(group.slots, counts, strict=True):
        first = slot.rows[0] if len(slot.rows) == 1 else None
        if first == count:
            count += math.prod(own)
        elif first is None or firsts.get(first) != own:
            raise PlanError(f"group {group.name}: rows are not those of the blocks, in order")
        firsts[first] = own
        found.append(first)
    if group.banks[0].rows != count:
        raise PlanError(f"group {group.name}: rows are not those of the blocks, in order")
    return found


RECIPE = Stack
