"""What some networks of a plan read of it: the plan of these networks alone."""

import math
from collections.abc import Sequence

from npas import arch, recipes, registry
from npas.errors import PlanError, UnknownNameError
from npas.plans import Group, Ledger, Plan, PrivateLayer
from npas.recipes import Part


def parts(plan: Plan, names: Sequence[str]) -> list[Part]:
    """Return what networks read of each group, without groups of which they read nothing."""
    found = []
    for group in plan.groups:
        slots = [index for index, slot in enumerate(group.slots) if slot.network in names]
        if slots:
            found.append(recipes.part(group, slots))
    return found


def worth_sharing(found: Sequence[Part]) -> list[Part]:
    """Return the parts that are smaller than the plain weights of their layers.

    A large network's bank may be many times a small one's weights.
    """
    return [part for part in found if part.group.num_parameters < part.group.num_dense]


def restricted(plan: Plan, names: Sequence[str]) -> Plan:
    """Return the plan of some networks, with as much of its banks as they read.

    Layers that would read more than they are have plain weights. Its budget is what it holds,
    which is its minimum too.

    Args:
        plan: whole.
        names: of the networks, in any order; they stay in that of the plan.

    Raises:
        UnknownNameError: the plan has no network of a name.
    """
    _check_names(plan, names)
    if len(set(names)) == len(plan.networks):
        return plan
    return _of(plan, names, worth_sharing(parts(plan, names)))


def _check_names(plan: Plan, names: Sequence[str]) -> None:
    known = [network.name for network in plan.networks]
    for name in names:
        if name not in known:
            raise UnknownNameError("network", name, known, registry.nearest(str(name), known))


def _of(plan: Plan, names: Sequence[str], found: Sequence[Part]) -> Plan:
    """Return the plan of some networks where these parts share, and all else is plain."""
    networks = tuple(network for network in plan.networks if network.name in names)
    groups = tuple(part.group for part in found)
    dense = arch.layer_table(networks, embeddings=True).dense
    shared = {slot.key for group in groups for slot in group.slots}
    slots = [slot for group in plan.groups for slot in group.slots if slot.network in names]
    freed = [
        PrivateLayer(network=slot.network, layer=slot.layer, shape=slot.shape)
        for slot in slots
        if slot.key not in shared
    ]
    private = tuple(layer for layer in plan.private if layer.network in names)
    count = dense - sum(group.num_dense for group in groups)
    ledger = Ledger.of(groups, private=count, dense=dense, budget=None)
    fields = {name: getattr(plan, name) for name in type(plan).model_fields}
    changed = {
        "networks": networks,
        "groups": groups,
        "private": (*private, *freed),
        "ledger": ledger,
        "minimum": ledger.total,
        "requested_dense": None,
    }
    return Plan(**fields | changed)


def num_read(plan: Plan, names: Sequence[str]) -> int:
    """Return how many trainable scalars some networks of a plan read, each counted once.

    Of a group whose recipe cannot say what some layers read, all counts.

    Raises:
        UnknownNameError: the plan has no network of a name.
    """
    _check_names(plan, names)
    networks = tuple(network for network in plan.networks if network.name in names)
    count = arch.layer_table(networks, embeddings=True).dense
    for group in plan.groups:
        slots = [index for index, slot in enumerate(group.slots) if slot.network in names]
        if slots:
            count += _num_read_of(group, slots)
            count -= sum(math.prod(group.slots[slot].shape) for slot in slots)
    return count


def _num_read_of(group: Group, slots: Sequence[int]) -> int:
    try:
        return recipes.part(group, slots).group.num_parameters
    except PlanError:
        return group.num_parameters
