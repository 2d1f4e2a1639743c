"""What some networks of a plan read of it: the plan of these networks alone."""

import math
from collections.abc import Sequence

from npas import arch, recipes, registry
from npas.errors import UnknownNameError
from npas.plans import Ledger, Plan
from npas.recipes import Part


def parts(plan: Plan, names: Sequence[str]) -> list[Part]:
    """Return what networks read of each group, without groups of which they read nothing."""
    found = []
    for group in plan.groups:
        slots = [index for index, slot in enumerate(group.slots) if slot.network in names]
        if slots:
            found.append(recipes.part(group, slots))
    return found


def restricted(plan: Plan, names: Sequence[str]) -> Plan:
    """Return the plan of some networks, with as much of its banks as they read.

    Its budget is what it holds, which is its minimum too.

    Args:
        plan: whole.
        names: of the networks, in any order; they stay in that of the plan.

    Raises:
        UnknownNameError: the plan has no network of a name.
    """
    known = [network.name for network in plan.networks]
    for name in names:
        if name not in known:
            raise UnknownNameError("network", name, known, registry.nearest(str(name), known))
    networks = tuple(network for network in plan.networks if network.name in names)
    if len(networks) == len(known):
        return plan
    groups = tuple(part.group for part in parts(plan, names))
    dense = arch.layer_table(networks, embeddings=True).dense
    shared = sum(math.prod(slot.shape) for group in groups for slot in group.slots)
    private = tuple(layer for layer in plan.private if layer.network in names)
    ledger = Ledger.of(groups, private=dense - shared, dense=dense, budget=None)
    fields = {name: getattr(plan, name) for name in type(plan).model_fields}
    changed = {
        "networks": networks,
        "groups": groups,
        "private": private,
        "ledger": ledger,
        "minimum": ledger.total,
        "requested_dense": None,
    }
    return Plan(**fields | changed)


def num_read(plan: Plan, names: Sequence[str]) -> int:
    """Return how many trainable scalars some networks of a plan read, each counted once."""
    return restricted(plan, names).ledger.total
