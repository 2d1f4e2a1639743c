"""Uniform sharing: neighbours in depth share the same scalars, hard. A baseline, not a search.

Consecutive layers of every kernel class form nearly equal groups; each group has the same share of
its dense size, a layer reads its group's bank from the first scalar on, over and over if it is
larger. There are no coefficients: what looped networks do (ALBERT, Universal Transformer), for
layers of any shape and for every budget.
"""

from typing import Any

from pydantic import Field

from npas.arch.layers import LayerTable
from npas.methods import Allocation, Method
from npas.methods._bank_sizing import FlatPool, distributed_freely, finished
from npas.methods._bins import bins_of
from npas.methods._parts import Layers
from npas.methods._small import Private, banked, banked_within, private_field
from npas.plans import Stage
from npas.plans.evidence import Evidence
from npas.spec import Spec

HOW: dict[str, Any] = {"upsample": "repeat", "max_windows": 1}


class UniformOptions(Spec):
    """Options of `uniform`."""

    bins: int = Field(4, ge=1, le=1000, description="groups in depth, over all kernel classes")
    private: Private = private_field()


class Uniform(Method):
    """A bank for every few neighbours."""

    title = "Uniform sharing: neighbours read the same scalars (baseline)"
    Options = UniformOptions

    def _pools(self, layers: Layers, bins: int) -> list[FlatPool]:
        return [FlatPool(group, **HOW) for group in bins_of(layers, bins, "depth")]

    def _fewest(self, layers: Layers, options: UniformOptions) -> list[FlatPool]:
        """Return the pools that can be smallest: one per kernel class has the fewest banks."""
        few = self._pools(layers, 1)
        asked = self._pools(layers, options.bins)
        return min(few, asked, key=lambda pools: sum(pool.least_cost for pool in pools))

    def smallest(self, table: LayerTable, options: UniformOptions) -> Allocation:
        """Return the smallest bank of every group, of as few groups as need be."""
        pools = self._fewest(banked(table, options.private), options)
        return finished(table.layers, [(pool, pool.fitting(pool.least_cost)) for pool in pools])

    def allocate(
        self,
        table: LayerTable,
        budget: int,
        options: UniformOptions,
        *,
        evidence: Evidence | None,  # noqa: ARG002 - nothing is measured
        stage: Stage,  # noqa: ARG002
    ) -> Allocation:
        """Return banks in proportion to their layers."""
        if budget >= table.dense:
            return Allocation(groups=(), private=table.layers)
        least = self.smallest(table, options).num_parameters
        layers = banked_within(table, options.private, budget, least)
        spare = budget - table.dense + sum(layer.size for layer in layers)
        pools = self._pools(layers, options.bins)
        if sum(pool.least_cost for pool in pools) > spare:
            pools = self._fewest(layers, options)
        distributed = distributed_freely(pools, spare)
        return finished(table.layers, distributed)


METHOD = Uniform()
