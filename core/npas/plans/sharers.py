"""Who shares with whom: every layer of a plan, the layers that read its banks, and their sizes."""

import math

from npas.plans import Group, LayerKey, Plan, Shape
from npas.plans.rows import num_own, readers_of_bank
from npas.spec import Spec

MOST_NAMED = 8
"""Layers that are named of those that one shares with; of more, the number is told."""


class LayerShare(Spec):
    """What one layer has by itself, and what it shares with whom.

    Attributes:
        network: of the layer.
        layer: its name.
        shape: of its weight.
        parameters: of its weight, which it would have without sharing.
        group: that it shares in; None: it has plain weights.
        recipe: that makes its weight; None likewise.
        own_parameters: trainable scalars that it alone reads.
        group_parameters: of all banks of its group; of plain weights, its own.
        readers: layers that read the banks that it reads, itself among them.
        shares_with: the first of the others by name, with the network where there are several.
    """

    network: str
    layer: str
    shape: Shape
    parameters: int
    group: str | None
    recipe: str | None
    own_parameters: int
    group_parameters: int
    readers: int
    shares_with: tuple[str, ...]

    @property
    def key(self) -> LayerKey:
        """Network and name: what tells it from all other layers of a plan."""
        return self.network, self.layer


def shares(plan: Plan) -> tuple[LayerShare, ...]:
    """Return every layer of a plan with those that it shares with.

    Groups come in the order of the plan, then layers with plain weights.

    Args:
        plan: any.

    Example:
        >>> import npas
        >>> from npas.plans.sharers import shares
        >>> plan = npas.plan("resnet-8", budget={"fraction": 0.5}, method="uniform")
        >>> {each.readers for each in shares(plan) if each.group == "g0"}
        {2}
    """
    is_lone = len(plan.networks) == 1
    plain = tuple(
        LayerShare(
            network=layer.network,
            layer=layer.layer,
            shape=layer.shape,
            parameters=math.prod(layer.shape),
            group=None,
            recipe=None,
            own_parameters=math.prod(layer.shape),
            group_parameters=math.prod(layer.shape),
            readers=1,
            shares_with=(),
        )
        for layer in plan.private
    )
    return (*(row for group in plan.groups for row in _of_group(group, is_lone)), *plain)


def _of_group(group: Group, is_lone: bool) -> list[LayerShare]:
    readers = [set(readers_of_bank(group, index)) for index in range(len(group.banks))]
    own = num_own(group)
    found = []
    for number, slot in enumerate(group.slots):
        together = sorted(set().union(*(each for each in readers if number in each)))
        others = [group.slots[other] for other in together if other != number]
        names = [
            other.layer if is_lone else f"{other.network}/{other.layer}"
            for other in others[:MOST_NAMED]
        ]
        found.append(
            LayerShare(
                network=slot.network,
                layer=slot.layer,
                shape=slot.shape,
                parameters=math.prod(slot.shape),
                group=group.name,
                recipe=group.recipe,
                own_parameters=own[number],
                group_parameters=group.num_parameters,
                readers=1 + len(others),
                shares_with=tuple(names),
            )
        )
    return found
