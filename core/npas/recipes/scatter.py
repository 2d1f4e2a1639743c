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
from typing import cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from npas.errors import PlanError
from npas.plans import Group
from npas.recipes import BankInit, BankPart, Part, Reader, settings_of
from npas.recipes._buffers import buffer
from npas.recipes._chance import Codes, shuffled_ring
from npas.recipes._places import Places
from npas.recipes._ring import ring_of_some
from npas.recipes._start import fit_by_descent, fresh_bank
from npas.spec import Spec

MOST_WHOLE = 2**28
"""Weights of a group that others can be parts of: of each a number is drawn when one is read."""

MOST_TIMES = 512
"""How many times the weights of a part the whole may have: a small file must not take long."""


class ScatterSettings(Spec):
    """What a plan may say of a scattered group.

    Attributes:
        seed: of the shuffle.
        whole: weights of the group that this one is a part of; None: it is whole.
        ring: scalars of that group's bank; of a part the bank has those that its layers read.
    """

    seed: int = Field(0, ge=0, lt=2**31)
    whole: int | None = Field(None, ge=1, le=MOST_WHOLE)
    ring: int | None = Field(None, ge=1, le=MOST_WHOLE)


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
        self._firsts = [0, *itertools.accumulate(sizes)]
        self._settings, self._sizes = settings, sizes
        ring = functools.partial(shuffled_ring, sum(sizes), bank.size, settings.seed)
        if settings.whole is not None or settings.ring is not None:
            ring = functools.partial(np.asarray, _closed_up(self._codes_of_part()))
        self._places = Places(ring)
        self.readers: Sequence[Sequence[Reader]] = [
            [
                Reader(index, None, group.gain(bank, slot, mixed=False))
                for index, slot in enumerate(group.slots)
            ]
        ]
        self._weights: list[Tensor | None] = [None] * len(sizes)

    def _codes_of_part(self) -> Codes:
        """Return where the layers of a part of a group read, and with which signs, in its ring.

        Raises:
            PlanError: they have no places in the whole, or read more or less than is there.
        """
        group, settings = self._group, self._settings
        whole, ring = settings.whole, settings.ring
        places = [slot.place for slot in group.slots]
        runs = [(p, n) for p, n in zip(places, self._sizes, strict=True) if p is not None]
        ends = [0, *(first + count for first, count in runs)]
        if not whole or not ring or ring > whole or len(runs) < len(places) or ends[-1] > whole:
            raise PlanError(f"group {group.name}: settings or places of a part are not there")
        if whole > MOST_TIMES * sum(self._sizes):
            raise PlanError(f"group {group.name}: too small a part of {whole:,} weights")
        if any(first < end for (first, _), end in zip(runs, ends, strict=False)):
            raise PlanError(f"group {group.name}: places of layers are not in order")
        codes = ring_of_some(runs, whole, ring, settings.seed)
        if len(np.unique(_unsigned(codes))) != group.banks[0].size:
            raise PlanError(f"group {group.name}: the bank is not what its layers read")
        return codes

    def compose(self, templates: Sequence[Tensor], mixing: Sequence[Tensor]) -> list[Tensor]:
        """Return the weights; see `Composer`."""
        bank_B, composed = templates[0][0], []
        for index, (shape, gain_1) in enumerate(zip(self._shapes, mixing[0], strict=True)):
            weight = buffer(self._weights[index], (math.prod(shape),), bank_B)
            self._places.read(bank_B, weight, first=self._firsts[index])
            composed.append(weight.mul_(gain_1).view(shape))
            self._weights[index] = weight
        return composed

    def unrolled(self, templates: Sequence[Tensor], mixing: Sequence[Tensor]) -> None:
        """Return None: places are as many as weights; see `Unrolled`."""

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

    def part(self, slots: Sequence[int]) -> Part:
        """Return some layers with the scalars of the ring that they read; see `Composer`."""
        bank, settings = self._group.banks[0], self._settings
        ends = self._firsts
        own = sum(self._sizes[slot] for slot in slots)
        if ends[-1] > min(MOST_WHOLE, MOST_TIMES * own):
            raise PlanError(f"group {self._group.name}: too many weights to make a part of")
        codes = self._places.codes()
        read = np.concatenate([_unsigned(codes[ends[s] : ends[s + 1]]) for s in slots])
        kept = np.unique(read)
        made = []
        for index in slots:
            slot = self._group.slots[index]
            place = self._firsts[index] if slot.place is None else slot.place
            made.append(slot.model_copy(update={"place": place}))
        whole = {"whole": settings.whole or ends[-1], "ring": settings.ring or bank.size}
        changes = {
            "banks": (bank.model_copy(update={"size": len(kept)}),),
            "slots": tuple(made),
            "settings": {**self._group.settings, **whole},
        }
        source = BankPart(0, scalars=torch.from_numpy(kept.astype(np.int64)))
        return Part(self._group.model_copy(update=changes), (source,))


def _unsigned(codes: Codes) -> Codes:
    """Return the places of codes."""
    return cast(Codes, np.maximum(codes, np.invert(codes)))  # the one that is not negative


def _closed_up(codes: Codes) -> Codes:
    """Return codes of places among those alone that are read."""
    closed = codes.copy()
    closed[:] = np.unique(_unsigned(codes), return_inverse=True)[1]
    return np.invert(closed, out=closed, where=codes < 0)


RECIPE = Scatter
