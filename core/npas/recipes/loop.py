"""W_l = s_l sum_k A_r(l)k T_k: layers of one shape that repeat, each times a scalar of its own.

Source: Savarese & Maire, ICLR 2019, on folding: layers with near-equal coefficients become one.
The paper sets their coefficients equal, which is exact only where a normalisation takes the scale
out; here every layer but the first of a repeat keeps a scalar, so that the fold of proportional
coefficients is exact in any network.

The first bank holds templates and one row of coefficients for each distinct weight, or, with no
rows, one template that is the weight itself. The second, if any scalar is needed, holds them.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from npas.errors import PlanError
from npas.plans import Bank, Group, Slot
from npas.recipes import BankInit, BankPart, MatrixShape, Part, Reader, settings_of
from npas.recipes._buffers import buffer, rows_of
from npas.recipes._memory_format import in_order, out_of_order, shaped
from npas.recipes._part import part_by_rows
from npas.recipes._start import fit_bank, fresh_bank
from npas.spec import Spec


def loop_group(
    name: str,
    slots: Sequence[Slot],
    repeats: Sequence[int],
    scaled: Sequence[bool],
    *,
    templates: int,
) -> Group:
    """Return the group of layers of one shape that repeat.

    Args:
        name: of the group.
        slots: the layers; the rows they had are left out.
        repeats: for each of them, which distinct weight it is, counted from 0.
        scaled: for each of them, whether it has a scalar of its own.
        templates: that are mixed; 0 for the one distinct weight as it is.
    """
    shape = slots[0].shape
    rows = max(repeats) + 1 if templates else 0
    banks = [Bank(shape=shape, size=math.prod(shape), templates=max(templates, 1), rows=rows)]
    if any(scaled):
        banks.append(Bank(shape=(1, 1), size=1, templates=sum(scaled), rows=0))
    made = []
    for slot, repeat, index in zip(slots, repeats, range(len(slots)), strict=True):
        scalar = sum(scaled[:index]) if scaled[index] else None
        own = (repeat, scalar) if any(scaled) else (repeat,)
        made.append(slot.model_copy(update={"rows": own, "deviation": None}))
    return Group(name=name, recipe="loop", banks=tuple(banks), slots=tuple(made))


def repeats_of(group: Group) -> list[int] | None:
    """Return for each layer which distinct weight it is; None for a group that does not loop."""
    return [slot.rows[0] or 0 for slot in group.slots] if group.recipe == "loop" else None


class Loop:
    """Composer of a bank of weights and a bank of scalars."""

    def __init__(self, group: Group) -> None:
        _check(group)
        settings_of(group, Spec)
        self._group, self._shape = group, group.slots[0].shape
        self._repeats = [slot.rows[0] or 0 for slot in group.slots]
        self._scalars = {
            index: slot.rows[1]
            for index, slot in enumerate(group.slots)
            if len(slot.rows) > 1 and slot.rows[1] is not None
        }
        rows = self._repeats if group.banks[0].rows else [None] * len(self._repeats)
        self.readers = [
            [
                Reader(number, row, group.gain(group.banks[0], slot, mixed=row is not None))
                for number, (slot, row) in enumerate(zip(group.slots, rows, strict=True))
            ],
            [Reader(slot, None, 1.0) for slot in self._scalars],
        ][: len(group.banks)]
        self._weights_LD: Tensor | None = None
        self._gathered_LD: Tensor | None = None

    def _scales(self, templates: Sequence[Tensor]) -> Tensor:
        """Return (L, 1): each layer's scalar, 1 where it has none."""
        scales_L1 = templates[0].new_ones(len(self._repeats), 1)
        if self._scalars:
            scales_L1[list(self._scalars)] = templates[1][list(self._scalars.values())]
        return scales_L1

    def compose(self, templates: Sequence[Tensor], mixing: Sequence[Tensor]) -> list[Tensor]:
        """Return the weights; see `Composer`."""
        scaled_LK = mixing[0] * self._scales(templates)
        shape = (len(self._repeats), templates[0].shape[1])
        self._weights_LD = buffer(self._weights_LD, shape, templates[0])
        torch.mm(scaled_LK, in_order(templates[0], self._shape), out=self._weights_LD)
        return [shaped(row, self._shape) for row in self._weights_LD]

    def matrices(self) -> Sequence[Sequence[MatrixShape]]:
        """Return the shape of the distinct weights, and none of scalars; see `OfMatrices`."""
        own = [(self._shape[0], math.prod(self._shape[1:]))]
        return [own, []][: len(self._group.banks)]

    def unrolled(self, templates: Sequence[Tensor], mixing: Sequence[Tensor]) -> list[Tensor]:
        """Return the weights by plain operations; see `Unrolled`."""
        factors_LK = mixing[0]
        if self._scalars:
            ones_L = factors_LK.new_ones(1).expand(len(self._repeats)).unbind()
            scalars = templates[1].flatten().unbind()
            own = [
                scalars[self._scalars[index]] if index in self._scalars else one
                for index, one in enumerate(ones_L)
            ]
            factors_LK = factors_LK * torch.stack(own).unsqueeze(1)
        return [row.view(self._shape) for row in (factors_LK @ templates[0]).unbind()]

    def pull_back(
        self,
        templates: Sequence[Tensor],
        mixing: Sequence[Tensor],
        gradients: Sequence[Tensor | None],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the gradients; see `Composer`."""
        scales_L1, gradients_LD = self._scales(templates), self._gathered(gradients, templates[0])
        of_scaled_LK = gradients_LD @ in_order(templates[0], self._shape).t()
        of_ordered_KD = (mixing[0] * scales_L1).t() @ gradients_LD
        of_templates = [out_of_order(of_ordered_KD, self._shape)]
        of_mixing = [of_scaled_LK * scales_L1]
        if self._scalars:
            of_scales_L1 = (of_scaled_LK * mixing[0]).sum(dim=1, keepdim=True)
            of_scalars = torch.empty_like(templates[1])
            of_scalars[list(self._scalars.values())] = of_scales_L1[list(self._scalars)]
            of_templates.append(of_scalars)
            of_mixing.append(of_scalars)  # of ones, which nobody asks for
        return of_templates, of_mixing

    def fresh(self, generator: torch.Generator) -> list[BankInit]:
        """Return random values, all scalars 1; see `Composer`."""
        starts = [fresh_bank(self._group, 0, generator)]
        if self._scalars:
            starts.append(BankInit(torch.ones(len(self._scalars), 1), None))
        return starts

    def fit(self, weights: Sequence[Tensor]) -> list[BankInit]:
        """Return near values, exact where all weights of each repeat are proportional.

        A repeat's direction is the mean of its weights' directions, turned to one side; scalars
        are those of least squares.
        """
        gathered_LD = self._gathered(weights, weights[0])
        exact = torch.promote_types(gathered_LD.dtype, torch.float32)
        wanted_LD = gathered_LD.to(exact)
        scales_L1 = wanted_LD.new_ones(len(wanted_LD), 1)
        for members in _members(self._repeats).values():
            plain = [index for index in members if index not in self._scalars]
            unit_MD = normalize(wanted_LD[members], dim=1)
            signs_M1 = torch.where(unit_MD @ wanted_LD[(plain or members)[0]] < 0, -1, 1)[:, None]
            direction_D = normalize((signs_M1 * unit_MD).mean(dim=0), dim=0)
            along = {index: wanted_LD[index] @ direction_D for index in members}
            length = torch.stack([along[index] for index in plain or members[:1]]).mean()
            length = torch.where(length == 0, 1, length)
            for index in members:
                scales_L1[index] = 1 if index in plain else along[index] / length
            wanted_LD[members] = length * direction_D
        starts = [fit_bank(self._group, 0, self.readers[0], wanted_LD)]
        if self._scalars:
            scalars = wanted_LD.new_empty(len(self._scalars), 1)
            scalars[list(self._scalars.values())] = scales_L1[list(self._scalars)]
            starts.append(BankInit(scalars, None))
        return starts

    def part(self, slots: Sequence[int]) -> Part:
        """Return some layers with their distinct weights and their scalars; see `Composer`."""
        part = part_by_rows(self._group, slots)
        if len(part.banks) == 1:
            return part
        weights, scalars = part.banks  # of which each row is a template
        count = sum(slot in self._scalars for slot in slots)
        bank = part.group.banks[1].model_copy(update={"templates": count})
        group = part.group.model_copy(update={"banks": (part.group.banks[0], bank)})
        return Part(group, (weights, BankPart(1, templates=scalars.rows)))

    def _gathered(self, weights: Sequence[Tensor | None], like: Tensor) -> Tensor:
        """Return weights or their gradients as rows, (L, D)."""
        self._gathered_LD = rows_of(self._gathered_LD, weights, math.prod(self._shape), like)
        return self._gathered_LD


def _members(repeats: Sequence[int]) -> Mapping[int, list[int]]:
    """Return the layers of each distinct weight."""
    members: dict[int, list[int]] = defaultdict(list)
    for index, repeat in enumerate(repeats):
        members[repeat].append(index)
    return members


def _check(group: Group) -> None:
    """Check that banks and rows are those of a loop."""
    bank, *others = group.banks
    if {slot.shape for slot in group.slots} != {bank.shape} or bank.size != math.prod(bank.shape):
        raise PlanError(f"group {group.name}: a loop needs one bank, of its layers' shape")
    if any(len(slot.rows) != len(group.banks) for slot in group.slots):
        raise PlanError(f"group {group.name}: every layer of a loop has a row for each bank")
    if {slot.rows[0] for slot in group.slots} != set(range(max(bank.rows, 1))):
        raise PlanError(f"group {group.name}: rows of bank 0 are not those in use")
    if bank.rows == 0 and bank.templates > 1:
        raise PlanError(f"group {group.name}: templates without coefficients cannot be mixed")
    scalars = sorted(row for slot in group.slots for row in slot.rows[1:] if row is not None)
    wanted = [Bank(shape=(1, 1), size=1, templates=len(scalars), rows=0)] if scalars else []
    if others != wanted or scalars != list(range(len(scalars))):
        raise PlanError(f"group {group.name}: bank 1 of a loop holds one scalar per layer")


RECIPE = Loop
