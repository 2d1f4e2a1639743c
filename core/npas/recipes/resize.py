"""Layers of any shape mix the same few templates, resized to each layer.

Source: Plummer et al., "Neural Parameter Allocation Search", ICLR 2022, section 3.2: the warped
one-group network in which layers learn coefficients that can be compared, before they are put
into groups. Differences: no softmax over the coefficients; templates are mixed before they are
resized, which is the same for a tenth of the work; the taps of a kernel are not mixed with one
another.
"""

import math
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from npas.errors import PlanError
from npas.plans import Group
from npas.plans.windows import grid_of, num_read
from npas.recipes import BankInit, Part, Reader, settings_of
from npas.recipes._enlarge import Enlarger
from npas.recipes._part import part_by_rows
from npas.recipes._start import fit_by_descent, fresh_bank
from npas.spec import Spec


class ResizeSettings(Spec):
    """What a plan may say of a group that resizes its templates.

    Attributes:
        whole: scalars of a template in the group that this one is a part of: they say how layers
            read it. None: it has all of them.
    """

    whole: int | None = Field(None, ge=1, le=2**48)


class Resize:
    """Composer of one bank; every layer has its own coefficients or shares a row."""

    def __init__(self, group: Group) -> None:
        bank = group.banks[0]
        size = settings_of(group, ResizeSettings).whole or bank.size
        if len(group.banks) > 1 or not bank.rows:
            raise PlanError(f"group {group.name}: resize needs one bank with coefficients")
        if any(size < math.prod(slot.shape[2:]) for slot in group.slots):
            raise PlanError(f"group {group.name}: a template is smaller than one kernel")
        rows = [slot.rows for slot in group.slots]
        if {row for own in rows for row in own} != set(range(bank.rows)):
            raise PlanError(f"group {group.name}: rows are not those in use")
        if any(len(own) != 1 for own in rows):
            raise PlanError(f"group {group.name}: every layer reads the one bank")
        self._group, self._whole = group, size
        self._shapes = [slot.shape for slot in group.slots]
        self._spans = [num_read(shape, size) for shape in self._shapes]
        if max(self._spans) != bank.size:
            raise PlanError(f"group {group.name}: no layer reads all of the bank")
        self._enlargers = [
            Enlarger((shape[0], shape[1]), grid_of(shape, size)) for shape in self._shapes
        ]
        self.readers: Sequence[Sequence[Reader]] = [
            [
                Reader(
                    index,
                    slot.rows[0],
                    group.gain(bank, slot, mixed=True) / math.sqrt(enlarger.power),
                )
                for index, (slot, enlarger) in enumerate(
                    zip(group.slots, self._enlargers, strict=True)
                )
            ]
        ]

    def compose(self, templates: Sequence[Tensor], mixing: Sequence[Tensor]) -> list[Tensor]:
        """Return the weights; see `Composer`."""
        (templates_KD,), (mixing_LK,) = templates, mixing
        parts = zip(self._shapes, self._enlargers, self._spans, mixing_LK, strict=True)
        return [
            enlarger.compose(mixing_K @ templates_KD[:, :span]).view(shape)
            for shape, enlarger, span, mixing_K in parts
        ]

    def pull_back(
        self,
        templates: Sequence[Tensor],
        mixing: Sequence[Tensor],
        gradients: Sequence[Tensor | None],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the gradients; see `Composer`."""
        (templates_KD,), (mixing_LK,) = templates, mixing
        of_templates_KD = torch.zeros_like(templates_KD)
        of_mixing_LK = torch.zeros_like(mixing_LK)
        for index, gradient in enumerate(gradients):
            if gradient is not None:
                span = self._spans[index]
                taps = gradient.reshape(*gradient.shape[:2], -1)
                of_mixed_D = self._enlargers[index].pull_back(taps)
                of_templates_KD[:, :span].addr_(mixing_LK[index], of_mixed_D)
                of_mixing_LK[index] = templates_KD[:, :span] @ of_mixed_D
        return [of_templates_KD], [of_mixing_LK]

    def fresh(self, generator: torch.Generator) -> list[BankInit]:
        """Return random values; see `Composer`."""
        return [fresh_bank(self._group, 0, generator)]

    def fit(self, weights: Sequence[Tensor]) -> list[BankInit]:
        """Return the templates that are nearest for random coefficients; see `Composer`."""
        return fit_by_descent(self, self.fresh(torch.Generator().manual_seed(0)), weights)

    def part(self, slots: Sequence[int]) -> Part:
        """Return some layers with the scalars of templates that they read; see `Composer`."""
        group, (source,) = part_by_rows(self._group, slots)
        span = max(self._spans[slot] for slot in slots)
        bank = group.banks[0].model_copy(update={"size": span})
        settings = {**group.settings, "whole": self._whole}
        group = group.model_copy(update={"banks": (bank,), "settings": settings})
        return Part(group, (source._replace(scalars=slice(span)),))


RECIPE = Resize
