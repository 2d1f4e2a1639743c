"""W_l = sum_k A_lk T_k for layers of one shape.

Source: Savarese & Maire, ICLR 2019, equation 1. The paper's code sums K products inside every
convolution; here one matrix product per bank makes the weights of all its layers.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from npas.errors import PlanError
from npas.plans import Group, Slot
from npas.recipes import BankInit, MatrixShape, Part, check, settings_of
from npas.recipes._buffers import buffer, rows_of
from npas.recipes._growth import with_own_rows
from npas.recipes._memory_format import in_order, out_of_order, shaped
from npas.recipes._mixing import mixed
from npas.recipes._part import part_by_rows
from npas.recipes._start import BankSettings, fit_bank, fresh_bank, readers_of


class Mix:
    """Composer of one bank; every slot reads it whole."""

    def __init__(self, group: Group) -> None:
        if {bank.shape for bank in group.banks} != {slot.shape for slot in group.slots}:
            raise PlanError(f"group {group.name}: mix needs one bank, of its layers' shape")
        size = math.prod(group.banks[0].shape)
        check(group, reads=[(0,)] * len(group.slots), sizes=[size])
        self._group, self._start = group, settings_of(group, BankSettings).coefficients
        self.readers = [readers_of(group, 0)]
        self._shapes = [slot.shape for slot in group.slots]
        self._weights_LD: Tensor | None = None
        self._gathered_LD: Tensor | None = None

    def compose(self, templates: Sequence[Tensor], mixing: Sequence[Tensor]) -> list[Tensor]:
        """Return the weights; see `Composer`."""
        (templates_KD,), (mixing_LK,) = templates, mixing
        shape = (len(self._shapes), templates_KD.shape[1])
        self._weights_LD = buffer(self._weights_LD, shape, templates_KD)
        ordered_KD = in_order(templates_KD, self._shapes[0])
        mixed(mixing_LK, ordered_KD, self._weights_LD, ends=self._group.joined)
        rows = zip(self._weights_LD.unbind(), self._shapes, strict=True)
        return [shaped(row, shape) for row, shape in rows]

    def matrices(self) -> Sequence[Sequence[MatrixShape]]:
        """Return the shape of a template, which is that of the weights; see `OfMatrices`."""
        shape = self._shapes[0]
        return [[(shape[0], math.prod(shape[1:]))]]

    def unrolled(self, templates: Sequence[Tensor], mixing: Sequence[Tensor]) -> list[Tensor]:
        """Return the weights by plain operations; see `Unrolled`."""
        rows = (mixing[0] @ templates[0]).unbind()
        return [row.view(shape) for row, shape in zip(rows, self._shapes, strict=True)]

    def pull_back(
        self,
        templates: Sequence[Tensor],
        mixing: Sequence[Tensor],
        gradients: Sequence[Tensor | None],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the gradients; see `Composer`."""
        (templates_KD,), (mixing_LK,) = templates, mixing
        gradients_LD = self._gathered(gradients, templates_KD)
        ordered_KD = in_order(templates_KD, self._shapes[0])
        of_ordered_KD = mixing_LK.t() @ gradients_LD
        of_templates_KD = out_of_order(of_ordered_KD, self._shapes[0])
        return [of_templates_KD], [gradients_LD @ ordered_KD.t()]

    def fresh(self, generator: torch.Generator) -> list[BankInit]:
        """Return random values; see `Composer`."""
        return [fresh_bank(self._group, 0, generator, self._start)]

    def fit(self, weights: Sequence[Tensor]) -> list[BankInit]:
        """Return the nearest values, by truncated SVD; see `Composer`."""
        gathered_LD = self._gathered(weights, weights[0])
        return [fit_bank(self._group, 0, self.readers[0], gathered_LD)]

    def part(self, slots: Sequence[int]) -> Part:
        """Return some layers with the rows that they read; see `Composer`."""
        return part_by_rows(self._group, slots)

    def with_layer(self, slot: Slot) -> Group | None:
        """Return the group with one layer more, of the same shape; see `Composer`."""
        is_alike = slot.shape == self._shapes[0]
        return with_own_rows(self._group, slot, [0]) if is_alike else None

    def _gathered(self, weights: Sequence[Tensor | None], like: Tensor) -> Tensor:
        """Return weights or their gradients as rows, (L, D)."""
        self._gathered_LD = rows_of(self._gathered_LD, weights, math.prod(self._shapes[0]), like)
        return self._gathered_LD


RECIPE = Mix
