"""Banks of equal blocks for layers of one kernel class, while a method deals out its budget."""

import functools
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from npas.arch.layers import Layer, LayerTable
from npas.methods import Allocation
from npas.methods._bank_sizing import Pool, distributed_freely, finished, without_lone_layers
from npas.methods._linkage import merges
from npas.methods._parts import Layers
from npas.methods._tying import UNTIED, Tying
from npas.plans import Bank, Group, Slot
from npas.plans.blocks import MOST_PADDING, num_blocks
from npas.plans.evidence import Evidence

MOST_TEMPLATES = 64
"""Templates at most: mixing costs as many multiplications for every weight."""

MOST_SHUFFLED = 2
"""Templates of shuffled blocks, where so many fit: they are all different even with one, and more
cost coefficients, which give less than as many scalars in templates."""

_RATIOS = (0.5, 0.75, 1.0, 4 / 3, 2.0)
"""Proportions of blocks that are tried, outputs over inputs."""

MOST_BOXES = 4096
"""Blocks to try that are made for the layers' shapes; where there would be more, none is."""

_WHOLE_PARTS = range(1, 9)
"""Layers are cut in so many blocks along one axis without a border."""

Block = tuple[tuple[int, ...], int]
"""Shape of a block, and how many templates."""


class StackPool(Pool[Block]):
    """Layers of one kernel that are made of equal blocks by the recipe `stack`.

    Args:
        layers: in the order of the table, of one kernel class.
        max_templates: most templates of the bank; None: `MOST_TEMPLATES`.
        shuffled: whether every block has an order and signs of its own.
        tying: who starts with whose rows of coefficients.
    """

    def __init__(
        self,
        layers: Layers,
        *,
        max_templates: int | None,
        shuffled: bool,
        tying: Tying = UNTIED,
    ) -> None:
        super().__init__(layers)
        self.shuffled, self._tying = shuffled, tying
        self.max_templates = min(
            max_templates or MOST_TEMPLATES, MOST_SHUFFLED if shuffled else MOST_TEMPLATES
        )

    @functools.cached_property
    def _blocks(self) -> list[tuple[tuple[int, ...], int, int]]:
        """Every shape that may be chosen, with its size and the blocks of all layers, by size.

        A block is no larger than some layer, which then reads all of it.
        """
        kernel = self.shapes[0][2:]
        distinct = Counter(self.shapes)
        shapes = np.array([shape[:2] for shape in distinct], dtype=np.int64)
        times = np.array([*distinct.values()], dtype=np.int64)
        blocks = []
        for high, wide in sorted(self._boxes(distinct)):
            block = (high, wide, *kernel)
            if (shapes >= (high, wide)).all(axis=1).any():
                count = int((-(-shapes // (high, wide))).prod(axis=1) @ times)
                if count * math.prod(block) <= MOST_PADDING * self.own:
                    blocks.append((block, math.prod(block), count))
        return sorted(blocks, key=lambda entry: (entry[1], entry[0]))

    def _boxes(self, shapes: Collection[tuple[int, ...]]) -> set[tuple[int, int]]:
        """Return the outputs and inputs of blocks to try: `MOST_BOXES`, or hardly more.

        Beside steps between one channel and the most, these are the shapes themselves and whole
        parts of their sides; of more shapes than there is room for, the steps alone.
        """
        sides = set(_sides(max(shape[0] for shape in shapes)))
        found = {(o, max(1, round(o / ratio))) for o in sides for ratio in _RATIOS}
        if len(shapes) > MOST_BOXES:
            return found
        lengths = {side for shape in shapes for side in shape[:2]}
        whole = {side // part for side in lengths for part in _WHOLE_PARTS if side % part == 0}
        fitted = {(o, max(1, round(o / ratio))) for o in whole for ratio in _RATIOS}
        fitted |= {(shape[0], shape[1]) for shape in shapes}
        return found | fitted if len(fitted) <= MOST_BOXES else found

    @functools.cached_property
    def _least(self) -> Block:
        block, _, _ = min(self._blocks, key=lambda entry: (entry[1] + entry[2], entry[0]))
        return block, 1

    @functools.cached_property
    def least_cost(self) -> int:
        """The fewest scalars: of one template of the cheapest block, or of plain weights."""
        return min(self.cost(self._least), self.own)

    def cost(self, choice: Block) -> int:
        """Return the templates' scalars and a coefficient of each for every block."""
        block, templates = choice
        count = sum(
            times * math.prod(num_blocks(shape, block))
            for shape, times in Counter(self.shapes).items()
        )
        return templates * (math.prod(block) + count)

    def fitting(self, budget: int) -> Block | None:
        """Return the block and the templates that a budget is best spent on; see `Pool`.

        As many templates for as few blocks as can be: that is the part of all weights that can be
        chosen freely; of equals the largest block. Shuffled, every scalar of a template serves all
        layers, borders or not: of choices with enough templates the one with most scalars.
        """
        if budget >= self.own or self.own <= self.cost(self._least):
            return None
        best, best_rank = self._least, (0.0, 0)
        for block, size, count in self._blocks:
            templates = min(self.max_templates, budget // (size + count))
            rank = (templates / count, size)
            if self.shuffled:
                rank = (templates, templates * size)
            if templates and rank > best_rank:
                best, best_rank = (block, templates), rank
        return best

    def group(self, name: str, choice: Block) -> Group:
        """Return the pool as a group of the plan."""
        block, templates = choice
        slots, first = list[Slot](), 0
        counts = [num_blocks(layer.shape, block) for layer in self.layers]
        for index, (layer, owner) in enumerate(
            zip(self.layers, self._tying.owners(self.layers), strict=True)
        ):
            # Layers of other grids of blocks have rows of their own.
            is_tied = owner < index and counts[owner] == counts[index]
            rows = slots[owner].rows if is_tied else (first,)
            slots.append(
                Slot(network=layer.network, layer=layer.name, shape=layer.shape, rows=rows)
            )
            first += 0 if is_tied else math.prod(counts[index])
        bank = Bank(shape=block, size=math.prod(block), templates=templates, rows=first)
        return Group(
            name=name,
            recipe="stack",
            settings={"shuffled": 0} if self.shuffled else {},
            banks=(bank,),
            slots=tuple(slots),
        )

    def of(self, layers: Layers) -> "StackPool":
        """Return a pool of other layers of the same kernel."""
        return StackPool(
            layers,
            max_templates=self.max_templates,
            shuffled=self.shuffled,
            tying=self._tying,
        )


def _sides(largest: int) -> list[int]:
    """Return numbers of channels to try: all small ones, then steps of an eighth."""
    sides, side = [1], 1
    while side < largest:
        side = max(side + 1, side * 9 // 8)
        sides.append(min(side, largest))
    return sides


def stack(
    table: LayerTable,
    layers: Sequence[Layer],
    spare: int,
    max_templates: int | None,
    partition: Sequence[Layers] | None,
    *,
    plain: Sequence[AbstractSet[Layer]] = (frozenset(),),
    shuffled_below: float = 0,
    tying: Tying = UNTIED,
) -> Allocation | None:
    """Return the allocation of equal blocks for a budget; None if they do not fit.

    Args:
        table: all layers.
        layers: those that share.
        spare: scalars for them.
        max_templates: most templates of a bank; None: `MOST_TEMPLATES`.
        partition: of the layers; None, or one that does not fit: one part per kernel class.
        plain: layers that keep plain weights; of several choices the first that fits.
        shuffled_below: blocks are shuffled where the layers that share have a smaller part of
            their plain weights.
        tying: who starts with whose rows of coefficients; the budget has room for all to part.
    """
    classes = _by_class(layers)
    partitions = [parts for parts in (partition, classes) if parts is not None]
    for parts, without in itertools.product(partitions, plain):
        kept = [tuple(layer for layer in part if layer not in without) for part in parts]
        left = spare - sum(layer.size for layer in without)
        shuffled = left < shuffled_below * sum(layer.size for part in kept for layer in part)
        how = functools.partial(
            StackPool, max_templates=max_templates, shuffled=shuffled, tying=tying
        )
        pools = [how(part) for part in kept if part]
        if sum(pool.least_cost for pool in pools) <= left:
            return _distributed(table, pools, left)
    return None


def _distributed(table: LayerTable, pools: Sequence[StackPool], spare: int) -> Allocation:
    shared, lone = without_lone_layers(pools, spare)
    distributed = distributed_freely(shared, spare - sum(layer.size for layer in lone))
    return finished(table.layers, distributed)


def smallest_stack(table: LayerTable, layers: Sequence[Layer], *, shuffled: bool) -> Allocation:
    """Return the cheapest blocks of one template, one bank per kernel class; see `stack`."""
    how = functools.partial(StackPool, max_templates=1, shuffled=shuffled)
    pools = [how(part) for part in _by_class(layers)]
    return finished(table.layers, [(pool, pool.fitting(pool.least_cost)) for pool in pools])


def _by_class(layers: Sequence[Layer]) -> list[Layers]:
    classes: dict[str, list[Layer]] = defaultdict(list)
    for layer in layers:
        classes[layer.kernel_class].append(layer)
    return [tuple(members) for members in classes.values()]


def agreeing_groups(
    layers: Sequence[Layer], evidence: Evidence, most: int, threshold: float
) -> list[Layers]:
    """Return groups of layers that agree, and few of them.

    Args:
        layers: that share.
        evidence: agreement of every pair of one kernel class.
        most: groups in all, if there are not more kernel classes.
        threshold: two groups that agree more are one.
    """
    classes = _by_class(layers)
    for partition, agreement in merges(layers, classes, evidence):
        if agreement <= threshold and len(partition) <= max(most, len(classes)):
            return partition
    return classes
