"""No sharing, but a narrower network: the simplest way to a smaller size, and a baseline.

All channel counts of all networks are multiplied by one factor, the largest that fits.
"""

from npas import arch
from npas.arch.layers import LayerTable
from npas.methods import Allocation, Method
from npas.plans import Stage
from npas.plans.evidence import Evidence
from npas.spec import NetworkSpec, Spec

STEPS = 1000
"""The factor is a multiple of 1 / STEPS: fine enough for every whole number of channels."""


class Narrow(Method):
    """The plain network with fewer channels; families that have no width stay as they are."""

    title = "Narrow: the network with fewer channels, nothing shared (baseline)"
    Options = Spec

    def networks_for(
        self,
        networks: tuple[NetworkSpec, ...],
        budget: int,
        options: Spec,  # noqa: ARG002 - there are none
    ) -> tuple[NetworkSpec, ...]:
        """Return the widest networks that fit, the narrowest where none does."""
        if arch.layer_table(networks).dense <= budget or _times(networks, 1) is None:
            return networks
        low, high = 1, STEPS  # a size rises with its factor; at `high` it does not fit
        while high - low > 1:
            middle = (low + high) // 2
            narrowed = _times(networks, middle)
            if narrowed is not None and arch.layer_table(narrowed).dense <= budget:
                low = middle
            else:
                high = middle
        return _times(networks, low) or networks

    def smallest(self, table: LayerTable, options: Spec) -> Allocation:  # noqa: ARG002
        """Return the only allocation there is, of the networks that `networks_for` chose."""
        return Allocation(groups=(), private=table.layers)

    def allocate(
        self,
        table: LayerTable,
        budget: int,  # noqa: ARG002 - the networks are made for it
        options: Spec,
        *,
        evidence: Evidence | None,  # noqa: ARG002
        stage: Stage,  # noqa: ARG002
    ) -> Allocation:
        """Return the only allocation there is."""
        return self.smallest(table, options)


def _times(networks: tuple[NetworkSpec, ...], factor: int) -> tuple[NetworkSpec, ...] | None:
    """Return networks with all channels times factor / STEPS; None if one has no such form."""
    found = []
    for network in networks:
        family = arch.family_of(network.architecture)
        narrower = family.narrower(network.architecture, factor / STEPS)
        if narrower is None:
            return None
        found.append(network.model_copy(update={"architecture": narrower}))
    return tuple(found)


METHOD = Narrow()
