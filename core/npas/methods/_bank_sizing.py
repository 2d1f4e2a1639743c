"""Banks whose size follows from a budget, while a method deals it out."""

import functools
import heapq
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from npas.arch.layers import Layer
from npas.methods import Allocation, ungrouped
from npas.methods._parts import Layers
from npas.plans import Bank, Group, Slot
from npas.plans.windows import Upsample, all_read, largest_bank, num_map, reading

Choice = TypeVar("Choice")
"""What a pool chooses by its budget: the size of a bank, the shape of a block."""

MOST_READERS = 256
"""How often the largest layer of a pool may repeat its bank; below that it is hardly a layer."""

_CANDIDATES = 64
"""Sizes that are tried to find the cheapest bank; coefficients make tiny banks dear."""

_ROUNDS = 8
"""How often leftovers of banks at their largest are distributed again."""


class Pool(ABC, Generic[Choice]):
    """Layers that will read one bank, whose size is a choice that follows from a budget.

    Attributes:
        layers: in the order of the table.
        shapes: theirs.
        own: scalars of their plain weights.
    """

    def __init__(self, layers: Layers) -> None:
        self.layers = layers
        self.shapes = [layer.shape for layer in layers]
        self.own = sum(layer.size for layer in layers)

    @property
    @abstractmethod
    def least_cost(self) -> int:
        """The fewest scalars that the layers can do with."""

    @abstractmethod
    def fitting(self, budget: int) -> Choice | None:
        """Return the best choice that costs at most a budget; None where plain weights fit.

        Args:
            budget: at least `least_cost`.
        """

    @abstractmethod
    def cost(self, choice: Choice) -> int:
        """Return the trainable scalars of a choice: the bank and all coefficients."""

    @abstractmethod
    def group(self, name: str, choice: Choice) -> Group:
        """Return the pool as a group of the plan."""

    @abstractmethod
    def of(self, layers: Layers) -> "Pool[Choice]":
        """Return a pool of other layers, all else equal."""


class FlatPool(Pool[int]):
    """Layers that read one flat bank by the recipe `slice`.

    Args:
        layers: in the order of the table.
        upsample: for layers larger than the bank.
        max_windows: most windows of one layer.
    """

    def __init__(self, layers: Layers, *, upsample: Upsample, max_windows: int) -> None:
        super().__init__(layers)
        self.upsample, self.max_windows = upsample, max_windows
        self.largest = largest_bank(self.shapes, max_windows=max_windows)
        self.least = min(self._candidates(), key=lambda bank: (self.cost(bank), bank))

    def _candidates(self) -> list[int]:
        """Return bank sizes from the smallest legal one to the largest layer."""
        top = max(layer.size for layer in self.layers)
        taps = max(math.prod(shape[2:]) for shape in self.shapes)
        low = max(taps, -(-top // MOST_READERS))
        ratio = max(1.0, top / low) ** (1 / _CANDIDATES)
        sizes = {min(top, max(low, round(low * ratio**k))) for k in range(_CANDIDATES + 1)}
        return sorted({self._whole(size) for size in sizes if self._whole(size) >= taps})

    def _whole(self, bank: int) -> int:
        return all_read(self.shapes, bank, upsample=self.upsample, max_windows=self.max_windows)

    def counts(self, bank: int) -> list[int]:
        """Return the coefficients of every layer."""
        found = {
            shape: reading(
                shape, bank, upsample=self.upsample, max_windows=self.max_windows
            ).coefficients
            for shape in set(self.shapes)
        }
        return [found[shape] for shape in self.shapes]

    def cost(self, bank: int) -> int:
        """Return the trainable scalars of a bank and all that reads it."""
        return bank + sum(self.counts(bank))

    @functools.cached_property
    def least_cost(self) -> int:
        """The fewest scalars: of the cheapest bank, or of plain weights."""
        return min(self.cost(self.least), self.own)

    def of(self, layers: Layers) -> "FlatPool":
        """Return a pool of other layers that is read in the same way."""
        return FlatPool(layers, upsample=self.upsample, max_windows=self.max_windows)

    def fitting(self, budget: int) -> int | None:
        """Return the size of the largest bank that fits; see `Pool`."""
        if budget >= self.own or self.own <= self.cost(self.least):
            return None
        bank = self._whole(max(self.least, min(budget, self.largest)))
        while (over := self.cost(bank) - budget) > 0:
            if bank <= self.least or bank - over < self.least:
                return self.least
            bank = self._whole(bank - over)
        return bank

    def group(self, name: str, bank: int) -> Group:
        """Return the pool as a group of the plan."""
        counts = self.counts(bank)
        firsts = [0, *itertools.accumulate(counts)][:-1]
        largest = max(self.shapes, key=math.prod)
        return Group(
            name=name,
            recipe="slice",
            settings={"upsample": self.upsample, "max_windows": self.max_windows},
            banks=(Bank(shape=largest, size=bank, templates=1, rows=sum(counts)),),
            slots=tuple(
                Slot(network=layer.network, layer=layer.name, shape=layer.shape, rows=(first,))
                for layer, first in zip(self.layers, firsts, strict=True)
            ),
        )


class EmbeddedPool(FlatPool):
    """The same by the recipe `embed`: a vector for every layer, a map for every number of windows.

    Args:
        layers: in the order of the table.
        upsample: for layers larger than the bank.
        max_windows: most windows of one layer.
        embedding: scalars of a layer's vector.
    """

    def __init__(
        self, layers: Layers, *, upsample: Upsample, max_windows: int, embedding: int
    ) -> None:
        self.embedding = embedding
        super().__init__(layers, upsample=upsample, max_windows=max_windows)

    def _windows(self, bank: int) -> list[int]:
        """Return the windows of every layer, 1 for those that read the bank in another way."""
        found = {
            shape: reading(shape, bank, upsample=self.upsample, max_windows=self.max_windows)
            for shape in set(self.shapes)
        }
        return [max(1, len(found[shape].starts)) for shape in self.shapes]

    def counts(self, bank: int) -> list[int]:
        """Return the scalars of its own of every layer."""
        pairs = zip(super().counts(bank), self._windows(bank), strict=True)
        return [count if windows == 1 else self.embedding for count, windows in pairs]

    def _maps(self, bank: int) -> int:
        mapped = {windows for windows in self._windows(bank) if windows > 1}
        return sum(num_map(windows, self.embedding) for windows in mapped)

    def cost(self, bank: int) -> int:
        """Return the trainable scalars of a bank, the maps and all vectors."""
        return super().cost(bank) + self._maps(bank)

    def of(self, layers: Layers) -> "EmbeddedPool":
        """Return a pool of other layers that is read in the same way."""
        return EmbeddedPool(
            layers,
            upsample=self.upsample,
            max_windows=self.max_windows,
            embedding=self.embedding,
        )

    def group(self, name: str, bank: int) -> Group:
        """Return the pool as a group of the plan; without windows to mix there are no maps."""
        plain = super().group(name, bank)
        if not self._maps(bank):
            return plain
        maps = Bank(shape=(self.embedding, 1), size=self._maps(bank), templates=1, rows=0)
        slots = tuple(
            slot.model_copy(update={"rows": (*slot.rows, 0 if windows > 1 else None)})
            for slot, windows in zip(plain.slots, self._windows(bank), strict=True)
        )
        return plain.model_copy(
            update={"recipe": "embed", "banks": (*plain.banks, maps), "slots": slots}
        )


Distribution = list[tuple[Pool[Any], Any]]
"""Pools with their choices; None for plain weights."""


def distribution_cost(distributed: Distribution) -> int:
    """Return the trainable scalars of all pools."""
    return sum(pool.own if bank is None else pool.cost(bank) for pool, bank in distributed)


def distribute(pools: Sequence[Pool[Any]], spare: int) -> Distribution:
    """Give every pool a share of a budget in proportion to its layers, at least what it needs.

    Source: the released SSN code's rule, which gives no pool less than a parameter.

    Args:
        pools: all of them.
        spare: scalars, at least the sum of `least_cost`.
    """
    total = sum(pool.own for pool in pools)
    shares = [max(pool.least_cost, spare * pool.own // max(1, total)) for pool in pools]
    distributed = [(pool, pool.fitting(share)) for pool, share in zip(pools, shares, strict=True)]
    over = distribution_cost(distributed) - spare
    most = [(pools[i].least_cost - share, i) for i, share in enumerate(shares)]
    heapq.heapify(most)
    while over > 0:
        # The pool with most room above its least, of equals the first.
        room, index = -most[0][0], most[0][1]
        shares[index] -= min(over, room)
        pool, before = pools[index], distribution_cost([distributed[index]])
        distributed[index] = (pool, pool.fitting(shares[index]))
        over += distribution_cost([distributed[index]]) - before
        heapq.heapreplace(most, (pool.least_cost - shares[index], index))
    return distributed


def without_lone_layers(pools: Sequence[Pool[Any]], spare: int) -> tuple[list[Pool[Any]], Layers]:
    """Let lone layers keep plain weights, the smallest first, with at most half of the budget.

    Source: SSN takes every lone layer out of the budget, and fails where that is all of it.

    Args:
        pools: all of them.
        spare: scalars.

    Returns:
        The pools left, and the layers taken out.
    """
    private, used = dict[int, Layers](), 0
    needed = sum(pool.least_cost for pool in pools)
    lone = [(index, pool) for index, pool in enumerate(pools) if len(pool.layers) == 1]
    for index, pool in sorted(lone, key=lambda each: each[1].own):
        needed -= pool.least_cost
        if used + pool.own > spare // 2 or used + pool.own + needed > spare:
            break
        used += pool.own
        private[index] = pool.layers
    left = [pool for index, pool in enumerate(pools) if index not in private]
    return left, tuple(layer for layers in private.values() for layer in layers)


def distributed_freely(pools: Sequence[Pool[Any]], spare: int) -> Distribution:
    """Deal; where banks are as large as they can be, let layers keep plain weights instead.

    Args:
        pools: all of them.
        spare: scalars, at least the sum of `least_cost`.

    Returns:
        The pools with their banks; layers that were taken out, the largest that fit first, are in
        none.
    """
    distributed = distribute(pools, spare)
    for _ in range(_ROUNDS):
        left, out = spare - distribution_cost(distributed), set[Layer]()
        shared = [layer for pool, bank in distributed if bank is not None for layer in pool.layers]
        for layer in sorted(shared, key=lambda la: -la.size):
            if layer.size <= left:
                left -= layer.size
                out.add(layer)
        pools = [p for p in (_left(pool, out) for pool, _ in distributed) if p is not None]
        needed = sum(p.least_cost for p in pools) + sum(layer.size for layer in out)
        if not out or needed > spare:
            break
        spare -= sum(layer.size for layer in out)
        distributed = distribute(pools, spare)
    return distributed


def _left(pool: Pool[Any], out: set[Layer]) -> Pool[Any] | None:
    """Return a pool without some layers, None if none is left."""
    if out.isdisjoint(pool.layers):
        return pool
    layers = tuple(layer for layer in pool.layers if layer not in out)
    return pool.of(layers) if layers else None


def finished(layers: Layers, distributed: Distribution) -> Allocation:
    """Return the allocation of all layers of a table: groups, and what is in none of them.

    Args:
        layers: of the table.
        distributed: pools with their banks.
    """
    shared = [(pool, bank) for pool, bank in distributed if bank is not None]
    groups = tuple(pool.group(f"g{i}", bank) for i, (pool, bank) in enumerate(shared))
    return Allocation(groups=groups, private=ungrouped(layers, groups))
