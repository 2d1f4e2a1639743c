"""Layers of any shape read one flat bank: windows of it, or an enlargement of it.

Source: Plummer et al., "Neural Parameter Allocation Search", ICLR 2022, section 3.1; geometry and
differences in `npas.plans.windows`. The released code also starts a bank at a variance that
depends on where a layer's slices fall; here every reader has a fixed gain that brings it to its
own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from npas.errors import PlanError
from npas.plans import Group, Slot
from npas.recipes import BankInit, Part, Reader
from npas.recipes._flat import Flat
from npas.recipes._growth import grown
from npas.recipes._start import fit_by_descent


class Slice:
    """Composer of one flat bank; a slot's row is the first of its coefficients."""

    def __init__(self, group: Group) -> None:
        if len(group.banks) > 1 or group.banks[0].templates != 1:
            raise PlanError(f"group {group.name}: slice needs one bank of one template")
        self._group, self._flat = group, (flat := Flat(group))
        readers, self._parts = flat.checked(group, [*map(flat.own, range(len(group.slots)))])
        self.readers: Sequence[Sequence[Reader]] = [readers]

    def compose(self, templates: Sequence[Tensor], mixing: Sequence[Tensor]) -> list[Tensor]:
        """Return the weights; see `Composer`."""
        return self._flat.compose(templates[0][0], self._split(mixing))

    def _split(self, mixing: Sequence[Tensor]) -> list[Tensor]:
        """Return the mixing weights of every layer."""
        return [mixing[0][part, 0] for part in self._parts]

    def pull_back(
        self,
        templates: Sequence[Tensor],
        mixing: Sequence[Tensor],
        gradients: Sequence[Tensor | None],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the gradients; see `Composer`."""
        of_bank_B, found = self._flat.pull_back(templates[0][0], self._split(mixing), gradients)
        of_mixing = torch.zeros_like(mixing[0])
        for part, of_own_M in zip(self._parts, found, strict=True):
            if of_own_M is not None:
                of_mixing[part, 0] = of_own_M
        return [of_bank_B.unsqueeze(0)], [of_mixing]

    def fresh(self, generator: torch.Generator) -> list[BankInit]:
        """Return random values, the bank with exactly mean 0 and its variance; see `Composer`."""
        templates = self._flat.fresh_bank(generator)
        own = torch.cat([way.fresh(generator) for way in self._flat.ways])
        own = own * (self._flat.row_length or 1.0)
        return [BankInit(templates, own.unsqueeze(1) if len(own) else None)]

    def fit(self, weights: Sequence[Tensor]) -> list[BankInit]:
        """Return the bank that is nearest for random coefficients; see `Composer`."""
        generator = torch.Generator().manual_seed(0)
        return fit_by_descent(self, self.fresh(generator), weights)

    def part(self, slots: Sequence[int]) -> Part:
        """Return some layers with what they read of the bank; see `Composer`."""
        return self._flat.part(slots, [each.coefficients for each in self._flat.readings])

    def with_layer(self, slot: Slot) -> Group | None:
        """Return the group with one layer more, of any shape; see `Composer`."""
        bank, count = self._group.banks[0], self._flat.num_own(slot.shape)
        wider = bank.model_copy(update={"rows": bank.rows + count})
        return grown(self._group, slot, (bank.rows,), banks=(wider,))


RECIPE = Slice
