"""No sharing: every layer keeps its own weight. The baseline of everything else."""

from npas.arch.layers import LayerTable
from npas.methods import Allocation, Method
from npas.plans import Stage
from npas.plans.evidence import Evidence
from npas.spec import Spec


class Dense(Method):
    """The plain network."""

    title = "No sharing: the network as it is, the baseline"
    Options = Spec

    def smallest(self, table: LayerTable, options: Spec) -> Allocation:  # noqa: ARG002 - no options
        """Return the only allocation there is."""
        return Allocation(groups=(), private=table.layers)

    def allocate(
        self,
        table: LayerTable,
        budget: int,  # noqa: ARG002 - more than the dense size cannot be used
        options: Spec,
        *,
        evidence: Evidence | None,  # noqa: ARG002 - the protocol's arguments
        stage: Stage,  # noqa: ARG002
    ) -> Allocation:
        """Return the only allocation there is; what is left of the budget stays unused."""
        return self.smallest(table, options)


METHOD = Dense()
