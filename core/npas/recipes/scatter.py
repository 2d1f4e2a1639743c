"""Every weight is a scalar of one bank, at a fixed random place and with a fixed random sign.

Source: Wang et al., "Recurrent Parameter Generators", WACV 2023 (RPG): one ring of weights is read
round and round, each time in another random order and with random signs; nothing is learned but
the ring. Desai & Shrivastava's random parameter sharing (STABLE-RPS) is the same map with hashes.
Differences: the weights of all layers take their places in one shuffle, so that no scalar of the
bank has more than one reader more than any other; the shuffle is our own arithmetic, because a
file must give the same network under every later version of a library.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from npas.errors import PlanError
from npas.plans import Group
from npas.recipes import BankInit, Reader, settings_of
from npas.recipes._buffers import buffer
from npas.recipes._chance import shuffled_ring
from npas.recipes._places import Places
from npas.recipes._start import fit_by_descent, fresh_bank
from npas.spec import Spec


class ScatterSettings(Spec):
    """What a plan may say of a scattered group."""

    seed: int = Field(0, ge=0, lt=2**31)


class Scatter:
    """Composer of one flat bank; a weight's place is its rank in a shuffle, modulo the bank."""

    def __init__(self, group: Group) -> None:
        bank = group.banks[0]
        settings = settings_of(group, ScatterSettings)
        if len(group.banks) > 1 or bank.templates != 1 or bank.rows:
            raise PlanError(f"group {group.name}: scatter needs one bank without coefficients")
        if any(slot.rows != (0,) for slot in group.slots):
            raise PlanError(f"group {group.name}: every layer reads the one bank")
        self._group, self._shapes = group, [slot.shape for slot in group.slots]
        sizes = [math.prod(shape) for shape in self._shapes]
        if sum(sizes) < bank.size:
            raise PlanError(f"group {group.name}: the bank is larger than all its layers")
        ring = functools.partial(shuffled_ring, sum(sizes), bank.size, settings.seed)
        self._places = Places(ring)
        self._firsts = [0, *itertools.accumulate(sizes)]
        self.readers: Sequence[Sequence[Reader]] = [
            [
                Reader(index, None, group.gain(bank, slot, mixed=False))
                for index, slot in enumerate(group.slots)
            ]
        ]
        self._weights: list[Tensor | None] = [None] * len(sizes)

    def compose(self, templates: Sequence[Tensor], mixing: Sequence[Tensor]) -> list[Tensor]:
        """Return the weights; see `Composer`."""
        bank_B, composed = templates[0][0], []
        for index, (shape, gain_1) in enumerate(zip(self._shapes, mixing[0], strict=True)):
            weight = buffer(self._weights[index], (math.prod(shape),), bank_B)
            self._places.read(bank_B, weight, first=self._firsts[index])
            composed.append(weight.mul_(gain_1).view(shape))
            self._weights[index] = weight
        return composed

    def pull_back(
        self,
        templates: Sequence[Tensor],
        mixing: Sequence[Tensor],
        gradients: Sequence[Tensor | None],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the gradients; see `Composer`. The gains are fixed: theirs are zero."""
        bank_B = templates[0][0]
        of_bank_B = torch.zeros_like(bank_B)
        for index, (gradient, gain_1) in enumerate(zip(gradients, mixing[0], strict=True)):
            if gradient is not None:
                scaled_N = gradient.reshape(-1) * gain_1
                self._places.add(scaled_N, of_bank_B, first=self._firsts[index])
        return [of_bank_B.unsqueeze(0)], [torch.zeros_like(mixing[0])]

    def fresh(self, generator: torch.Generator) -> list[BankInit]:
        """Return random values; see `Composer`."""
        return [fresh_bank(self._group, 0, generator)]

    def fit(self, weights: Sequence[Tensor]) -> list[BankInit]:
        """Return the nearest bank; exact where every scalar has one reader; see `Composer`."""
        return fit_by_descent(self, self.fresh(torch.Generator().manual_seed(0)), weights)


RECIPE = Scatter
