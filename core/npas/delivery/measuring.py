"""How much is measured of what sharing costs each layer: as much as a part of a training takes."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from npas.plans import LayerKey, Plan
from npas.sharing.unsharing import FACTORS, SIZES


class _Level(NamedTuple):
    """Steps, and batches of images for the steps and to measure on."""

    steps: int
    step_batches: int
    batches: int


_LEVELS = tuple(
    _Level(*each)
    for each in ((4, 4, 16), (4, 2, 8), (3, 2, 4), (3, 1, 4), (2, 1, 2), (1, 1, 2), (1, 1, 1))
)
"""From dear to cheap."""

_LOOK = 1 / 3
"""What looking at a batch takes, in optimiser steps on it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """What there is to measure with.

    Attributes:
        learned: training images.
        held_out: others; 0: some training images are kept from the steps.
        batch: of the training.
    """

    learned: int
    held_out: int
    batch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """What is measured.

    Attributes:
        layers: which, by network and name; empty: nothing can be.
        steps: down the gradient.
        step_images: for these.
        images: to measure on.
        cost: in optimiser steps of the training.
    """

    layers: Collection[LayerKey]
    steps: int
    step_images: int
    images: int
    cost: float


NOTHING = Effort(layers=(), steps=0, step_images=0, images=0, cost=0.0)
"""Nothing is measured."""


def effort(plan: Plan, images: Images, allowed: float) -> Effort:
    """Return the most that can be measured in the time of some optimiser steps.

    All layers with as many images and steps as can be; where even the fewest are too many, the
    largest layers.

    Args:
        plan: of the networks.
        images: that there are.
        allowed: optimiser steps.
    """
    largest = sorted(
        ((group.name, slot) for group in plan.groups for slot in group.slots),
        key=lambda pair: -math.prod(pair[1].shape),
    )
    order = [(name, slot.key) for name, slot in largest]
    kept = images.learned // 2 if not images.held_out else images.held_out
    batch = min(images.batch, images.learned if images.held_out else kept)
    if not order or batch < 1 or kept < 1:
        return NOTHING
    for level in _LEVELS:
        possible = _possible(level, images, batch, kept)
        chosen, cost = _affordable(order, possible, allowed)
        if len(chosen) == len(order):
            break
    if not chosen:
        return NOTHING
    return Effort(
        layers=frozenset(chosen),
        steps=possible.steps,
        step_images=possible.step_batches * batch,
        images=min(possible.batches * batch, kept),
        cost=cost,
    )


def _possible(level: _Level, images: Images, batch: int, kept: int) -> _Level:
    """Return a level with no more batches than there are images for."""
    learned = images.learned if images.held_out else images.learned - kept
    return _Level(
        level.steps,
        max(1, min(level.step_batches, learned // batch)),
        min(level.batches, -(-kept // batch)),
    )


def _affordable(
    order: list[tuple[str, LayerKey]], level: _Level, allowed: float
) -> tuple[list[LayerKey], float]:
    """Return the first layers that can be measured for some steps, and how many that takes."""
    looked_at = _LOOK * level.batches
    later = (level.steps - 1) * (1 + _LOOK) * level.step_batches
    cost = level.step_batches + looked_at
    of_bank = (len(SIZES) + 2) * _LOOK * level.step_batches + later + looked_at
    most = max(len(SIZES), len(FACTORS))
    of_layer = most * _LOOK * level.step_batches + later + looked_at
    chosen: list[LayerKey] = []
    seen: set[str] = set()
    for group, key in order:
        more = of_layer + (0 if group in seen else of_bank)
        if cost + more > allowed:
            break
        cost += more
        seen.add(group)
        chosen.append(key)
    return (chosen, cost) if chosen else ([], 0.0)
