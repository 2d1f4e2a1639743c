"""Banks of blocks that nest, for layers of one kernel class, while a method deals out its budget.

Source: the released SuperWeights code: bins by depth, clusters by gradient agreement, two routines
that distribute templates.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from npas.arch.layers import LayerTable
from npas.methods import Allocation, ungrouped
from npas.methods._bins import BinBy, bins_of, coarser, finer
from npas.methods._levels import level
from npas.methods._linkage import merges
from npas.methods._parts import Layers, Part, cost, fill, freed, most, parts_of, trimmed
from npas.methods._tying import Coefficients, owners
from npas.plans.evidence import Evidence

NESTED_TEMPLATES = 8
"""Templates per SuperWeight at most: the released code's default."""

NESTED_THRESHOLD = 0.1
"""Layers that agree more are merged: the released code's first threshold."""

Distributing = Literal["templates", "normalised"]
"""How templates are distributed: one by one to groups with readers for them, or in proportion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Nests:
    """Layers whose blocks nest, and how they are put together.

    Attributes:
        layers: in the order of the table.
        bins: before anything is measured; see `bins_of`.
        by: what they count.
        max_templates: most templates of a bank.
        threshold: layers that agree more are merged.
        distributing: of templates.
    """

    layers: Layers
    bins: int
    by: BinBy
    max_templates: int = NESTED_TEMPLATES
    threshold: float = NESTED_THRESHOLD
    distributing: Distributing = "templates"

    def cheapest(self) -> list[Part]:
        """Return the parts that cost least, one template each."""
        return parts_of(_cheapest_partition(self.layers, self.bins, self.by))

    def tied(self, spare: int) -> list[Part]:
        """Return the parts to search with: all layers of one share its coefficients.

        One template each: with tied coefficients more would span the same networks.
        """
        fitting = (parts for parts in self._coarser(tied=True) if cost(parts) <= spare)
        cheapest = [part.layers for part in self.cheapest()]
        return next(fitting, parts_of(cheapest, tied=True))

    def alone(self, spare: int) -> list[Part]:
        """Return a part for every layer, with all templates that a budget from dense on holds."""
        parts = parts_of([(layer,) for layer in self.layers])
        left = self._distributed(parts, spare, to_users=True)
        self._distributed(parts, cost(parts) + left, to_users=False)
        return parts

    def below_dense(self, spare: int, evidence: Evidence | None) -> list[Part]:
        """Return the groups that agree, or bins where nothing was measured."""
        parts = self.by_bins(spare) if evidence is None else self.by_agreement(spare, evidence)
        return freed(parts, self._distributed(parts, spare, to_users=True))

    def by_bins(self, spare: int) -> list[Part]:
        """Return the bins if they fit, else coarser ones; finer if they leave budget unused."""
        fitting = (parts for parts in self._coarser(tied=False) if cost(parts) <= spare)
        parts = next(fitting, None) or self.cheapest()
        for partition in finer(self.layers, self.bins, self.by):
            is_used_up = most(parts, self.max_templates) >= spare
            if is_used_up or cost(split := parts_of(partition)) > spare:
                break
            parts = split
        return parts

    def by_agreement(self, spare: int, evidence: Evidence) -> list[Part]:
        """Return the groups of the gradient search.

        Layers start alone and merge by average linkage, inside their bin first, then inside
        their kernel class. Of all partitions on the way, those that fit the budget and can use it
        are admissible; the one where all layers that agree more than the threshold have merged is
        taken, or the nearest admissible one.
        """
        bins = bins_of(self.layers, self.bins, self.by)
        taken: list[Part] | None = None
        part_of = functools.cache(functools.partial(Part, tied=False))
        for partition, agreement in merges(self.layers, bins, evidence):
            parts = [part_of(layers) for layers in partition]
            if cost(parts) > spare:
                continue
            if taken is not None and most(parts, self.max_templates) < spare:
                break
            taken = parts
            if agreement <= self.threshold:
                break
        return self.by_bins(spare) if taken is None else taken

    def _coarser(self, *, tied: bool) -> Iterator[list[Part]]:
        """Yield partitions from the asked bins down to one per kernel class."""
        for partition in coarser(self.layers, self.bins, self.by):
            yield parts_of(partition, tied=tied)

    def _distributed(self, parts: list[Part], spare: int, *, to_users: bool) -> int:
        """Distribute templates in place and return what is left."""
        distribute = fill if self.distributing == "templates" else level
        return distribute(parts, spare - cost(parts), self.max_templates, to_users=to_users)


@functools.lru_cache(maxsize=64)
def _cheapest_partition(layers: Layers, bins: int, by: BinBy) -> tuple[Layers, ...]:
    """Return the parts that cost least with one template each; dear to find, often asked for."""
    partitions = (parts_of(partition) for partition in coarser(layers, bins, by))
    return tuple(part.layers for part in trimmed(min(partitions, key=cost, default=[])))


def nested(
    table: LayerTable,
    parts: Sequence[Part],
    how: Coefficients = "own",
    evidence: Evidence | None = None,
) -> Allocation:
    """Return the allocation; all parts have room for coefficients of each layer's own.

    Args:
        table: all layers.
        parts: those that share.
        how: coefficients start.
        evidence: who may start with whose.
    """
    shared = [part for part in parts if not part.is_private]
    groups = tuple(
        part.group(f"g{i}", owners(part.layers, how, evidence)) for i, part in enumerate(shared)
    )
    return Allocation(groups=groups, private=ungrouped(table.layers, groups))
