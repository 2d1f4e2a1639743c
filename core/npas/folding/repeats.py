"""Which layers of a shared network are near enough to one another to be one.

Source: Savarese & Maire, ICLR 2019, on folding. The unit is a block: two blocks are tied if every
layer of one is near its counterpart in the other. What the paper leaves open is settled so: all
pairs of a cluster must be near (complete linkage), so that no chain ties what is far apart; blocks
are tied first, the nearest before others, then single layers wherever they stand.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from npas.folding.similarity import comparable
from npas.plans import Group
from npas.sharing.model import SharedModel
from npas.torch_internals import children_of

ROUNDING = 1e-6
"""How far below its threshold a similarity still counts: proportional weights are rounded."""

Matrix = NDArray[np.float64]


class Place(NamedTuple):
    """A layer of a group: the index of its slot."""

    group: str
    slot: int


Unit = tuple[Place, ...]
"""The layers of one block, in the order of their names."""


def repeats(
    model: SharedModel, similarities: Mapping[str, Tensor], threshold: float
) -> dict[str, list[int]]:
    """Return which layers are to be one.

    Args:
        model: its structure says what a block is: a child of an `nn.Sequential` or
            `nn.ModuleList`.
        similarities: of each group to look at, (L, L).
        threshold: least similarity of any two layers that are tied.

    Returns:
        for each of these groups, each layer's distinct weight, numbered as they first appear.
    """
    groups = [group for group in comparable(model.plan) if group.name in similarities]
    near = {name: matrix.numpy() for name, matrix in similarities.items()}
    labels = {group.name: list(range(len(group.slots))) for group in groups}
    for family in families(model, groups):
        blocks = _linked(_between(near, family), threshold)
        for block, unit in zip(blocks, family, strict=True):
            for place, first in zip(unit, family[block], strict=True):
                labels[place.group][place.slot] = labels[first.group][first.slot]
    return {name: _numbered(_tied(near[name], found, threshold)) for name, found in labels.items()}


def families(model: SharedModel, groups: Sequence[Group]) -> list[list[Unit]]:
    """Return the blocks that have the same layers of the same groups, in order, two at least.

    Of nested sequences the outermost counts.
    """
    places = {
        slot.key: Place(group.name, index)
        for group in groups
        for index, slot in enumerate(group.slots)
    }
    found: list[list[Unit]] = []
    for network in model.network_names:
        taken: set[str] = set()
        for path, module in model.network(network).named_modules():
            if not isinstance(module, nn.Sequential | nn.ModuleList):
                continue
            alike: dict[tuple[tuple[str, str], ...], list[Unit]] = defaultdict(list)
            for child in children_of(module):
                prefix = f"{path}.{child}." if path else f"{child}."
                layers = [
                    layer
                    for net, layer in places
                    if net == network and layer.startswith(prefix) and layer not in taken
                ]
                unit = tuple(places[network, layer] for layer in sorted(layers))
                names = [layer.removeprefix(prefix) for layer in sorted(layers)]
                kind = tuple(zip(names, (place.group for place in unit), strict=True))
                if kind:
                    alike[kind].append(unit)
            for units in alike.values():
                if len(units) > 1:
                    found.append(units)
                    taken |= {_layer(groups, place) for unit in units for place in unit}
    return found


def _layer(groups: Sequence[Group], place: Place) -> str:
    group = next(group for group in groups if group.name == place.group)
    return group.slots[place.slot].layer


def _between(near: Mapping[str, Matrix], family: Sequence[Unit]) -> Matrix:
    """Return how alike blocks are: the least of their layers, pair by pair."""
    parts = []
    for layers in zip(*family, strict=True):
        slots = [place.slot for place in layers]
        parts.append(near[layers[0].group][np.ix_(slots, slots)])
    return cast(Matrix, np.min(parts, axis=0))


def _tied(near: Matrix, labels: Sequence[int], threshold: float) -> list[int]:
    """Tie sets of layers that are near, whatever blocks they stand in."""
    sets: dict[int, list[int]] = defaultdict(list)
    for slot, label in enumerate(labels):
        sets[label].append(slot)
    members = list(sets.values())
    least = np.array([[near[np.ix_(a, b)].min() for b in members] for a in members])
    firsts = _linked(least, threshold)
    tied = {label: firsts[index] for index, label in enumerate(sets)}
    return [tied[label] for label in labels]


def _linked(near: Matrix, threshold: float) -> list[int]:
    """Return for each item the first of its cluster; all pairs of a cluster are near."""
    between = near.copy()
    np.fill_diagonal(between, -1)
    first = list(range(len(near)))
    while len(near) > 1:
        i, j = sorted(divmod(int(between.argmax()), len(near)))
        if between[i, j] < threshold - ROUNDING:
            break
        between[i] = between[:, i] = np.minimum(between[i], between[j])
        between[i, i] = between[j] = between[:, j] = -1
        first = [i if item == j else item for item in first]
    return first


def _numbered(labels: Sequence[int]) -> list[int]:
    """Number labels as they first appear."""
    order = {label: index for index, label in enumerate(dict.fromkeys(labels))}
    return [order[label] for label in labels]
