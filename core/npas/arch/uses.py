"""How much each layer is used: its multiply-adds for one example, counted without any data."""

import dataclasses
from collections import Counter
from collections.abc import Sequence

from npas.arch.costs import costs
from npas.arch.layers import LayerTable
from npas.plans import LayerKey
from npas.spec import NetworkSpec


def counted(table: LayerTable, networks: Sequence[NetworkSpec]) -> LayerTable:
    """Return a table whose layers know their multiply-adds.

    Layers of a user's own module, and of a network that does not run on the meta device, stay as
    they are. Where a module has several weights, each counts with all that the module does.

    Args:
        table: layers of these networks.
        networks: with all sizes.
    """
    found = Counter[LayerKey]()
    for network in networks:
        found.update(_of(network))
    layers = tuple(
        dataclasses.replace(layer, macs=found[layer.key]) if layer.key in found else layer
        for layer in table.layers
    )
    return dataclasses.replace(table, layers=layers)


def _of(network: NetworkSpec) -> Counter[LayerKey]:
    """Return the multiply-adds of a network's parameters; none where it cannot be run."""
    found = Counter[LayerKey]()
    if network.architecture.module is not None:
        return found
    try:
        rows = costs(network.architecture)
    except Exception:  # from any library's code; a plan can do without the count
        return found
    for row in rows:
        for name in row.holds:
            found[network.name, name] += row.macs
    return found
