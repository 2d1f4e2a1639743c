"""Which layers of a flat bank keep plain weights by default: the smallest, which cost the least.

A small layer has large gradients for its size. In a bank that it shares with large ones it moves
their weights further than their own gradients do; on its own it costs next to nothing. What was
measured is in docs/decisions/0012.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from npas.arch.layers import LayerTable, Role
from npas.methods._parts import Layers

Private = Literal["small"] | Annotated[tuple[Role, ...], Field(strict=False)]
"""Roles that never share; "small": the smallest layers, whatever their role."""

SMALL_PART = 0.1
"""Most of the scalars to distribute that the smallest layers may take."""

ROOM = 2
"""So many times the least that is feasible must be there before any layer is left out."""


def private_field() -> Any:
    """Return the option `private` of a method that puts layers of any shape into one bank."""
    return Field(
        "small",
        description="roles that never share; small: the smallest layers, as long as they take a "
        "tenth of the budget at most",
    )


def banked(table: LayerTable, private: Private) -> Layers:
    """Return the layers that share, at the smallest budget."""
    return table.layers if private == "small" else table.split(private)[0]


def banked_within(table: LayerTable, private: Private, budget: int, least: int) -> Layers:
    """Return the layers that share.

    Args:
        table: all layers.
        private: what the method was told.
        budget: of the whole network.
        least: scalars of all layers in the method's smallest allocation.
    """
    spare = budget - table.others
    if private != "small" or budget >= table.dense or spare < ROOM * least:
        return banked(table, private)
    left, small = SMALL_PART * spare, set[tuple[str, str]]()
    for layer in sorted(table.layers, key=lambda la: (la.size, la.network, la.name)):
        left -= layer.size
        if left < 0:
            break
        small.add(layer.key)
    return tuple(la for la in table.layers if la.key not in small)
