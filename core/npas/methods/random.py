"""Random sharing: every weight reads a fixed random scalar of one bank. A baseline, not a search.

Source: Wang et al., "Recurrent Parameter Generators", WACV 2023; recipe `scatter`. As in
STABLE-RPS, a budget of the dense size is the dense network: then nothing is shared.
"""

import math

from pydantic import Field

from npas.arch.layers import LayerTable
from npas.methods import Allocation, Method, ungrouped
from npas.methods._bank_sizing import MOST_READERS
from npas.methods._parts import Layers
from npas.methods._small import Private, banked, banked_within, private_field
from npas.plans import Bank, Group, Slot, Stage
from npas.plans.evidence import Evidence
from npas.spec import Spec


class RandomOptions(Spec):
    """Options of `random`."""

    seed: int = Field(0, ge=0, lt=2**31, description="of the map")
    private: Private = private_field()


class Random(Method):
    """One bank for all layers, whatever their shapes."""

    title = "Random sharing: fixed random places in one bank (baseline, WACV 2023)"
    Options = RandomOptions

    def _with_bank(
        self, table: LayerTable, layers: Layers, options: RandomOptions, size: int
    ) -> Allocation:
        if size >= sum(layer.size for layer in layers):
            return Allocation(groups=(), private=table.layers)
        largest = max((layer.shape for layer in layers), key=math.prod)
        group = Group(
            name="g0",
            recipe="scatter",
            settings={"seed": options.seed},
            banks=(Bank(shape=largest, size=size, templates=1, rows=0),),
            slots=tuple(
                Slot(network=layer.network, layer=layer.name, shape=layer.shape, rows=(0,))
                for layer in layers
            ),
        )
        return Allocation(groups=(group,), private=ungrouped(table.layers, (group,)))

    def smallest(self, table: LayerTable, options: RandomOptions) -> Allocation:
        """Return a bank that the largest layer reads 256 times over, as `ssn` allows too."""
        layers = banked(table, options.private)
        top = max((layer.size for layer in layers), default=0)
        return self._with_bank(table, layers, options, -(-top // MOST_READERS))

    def allocate(
        self,
        table: LayerTable,
        budget: int,
        options: RandomOptions,
        *,
        evidence: Evidence | None,  # noqa: ARG002 - nothing is measured
        stage: Stage,  # noqa: ARG002
    ) -> Allocation:
        """Return a bank as large as the budget."""
        least = self.smallest(table, options).num_parameters
        layers = banked_within(table, options.private, budget, least)
        private = table.dense - table.others - sum(layer.size for layer in layers)
        return self._with_bank(table, layers, options, budget - table.others - private)


METHOD = Random()
