"""Networks that join the banks of others, whose weights stay as they are."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from npas import arch, methods, recipes
from npas.arch.layers import Layer, LayerTable, Role
from npas.errors import InfeasibleBudgetError, InvalidSpecError
from npas.planning.problem import PlanningProblem
from npas.plans import Group, LayerKey, Ledger, Plan, PrivateLayer, Slot
from npas.spec import MAX_NETWORKS

_PRIVATE: tuple[Role, ...] = ("classifier",)
"""Roles that never share, where the method has no option that says so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Offer:
    """A group that a layer can join, and the scalars that this takes."""

    layer: Layer
    group: str
    cost: int


def joined(plan: Plan, problem: PlanningProblem) -> Plan:
    """Return the plan of networks and of others that read the same templates.

    A layer joins a group of its kernel class, of several the one whose layers stand at about the
    same depth of their networks. It adds coefficients alone. A layer that no group can make, and
    what the method never shares, has plain weights; so have others, those first that sharing saves
    least for, as far as the budget goes: those are the only new templates.

    Args:
        plan: of networks that share already; its groups, rows and templates stay as they are.
        problem: of the new networks; its budget is what they may add.

    Returns:
        a plan whose budget is what the plan has now and what may be added to it.

    Raises:
        InvalidSpecError: a network has the name of another, there would be too many, or they are
            for other images; or nothing can be shared, and the budget is too small without.
        InvalidSpecError: the budget is in bytes.
        InfeasibleBudgetError: the least that the new networks add is more than the budget.
    """
    _check_networks(plan, problem)
    table = problem.free(problem.networks)
    offers = _offers(plan, table)
    kept = sum(layer.size for layer in table.layers if layer.key not in offers)
    least = table.others + kept + sum(offer.cost for offer in offers.values())
    budget = table.dense if problem.budget is None else problem.budget
    if least > budget and not offers:
        raise InvalidSpecError(
            f"no layer can join the banks of this {plan.method} bundle, so that nothing would be "
            "shared: make one with superweights, block_mix, ssn or uniform",
            field="/start/checkpoint",
        )
    if least > budget:
        raise InfeasibleBudgetError(
            method=plan.method, budget=budget, minimum=least, alternatives={}
        )
    sharing = _affordable(offers.values(), budget - least)
    groups = tuple(_grown(group, sharing) for group in plan.groups)
    own = {offer.layer.key for offer in sharing}
    private = [layer for layer in problem.whole(problem.networks).layers if layer.key not in own]
    added = table.dense - sum(offer.layer.size for offer in sharing)
    ledger = Ledger.of(
        groups,
        private=plan.ledger.private + added,
        dense=plan.ledger.dense + table.dense,
        budget=plan.ledger.total + budget,
    )
    fields = {name: getattr(plan, name) for name in type(plan).model_fields}
    changed = {
        "stage": "train",
        "networks": (*plan.networks, *problem.networks),
        "groups": groups,
        "private": (*plan.private, *map(_plain, private)),
        "ledger": ledger,
        "minimum": plan.ledger.total + least,
        "requested_dense": None,
        "file": None,  # its bytes were those of a file without the new networks
    }
    return Plan(**fields | changed)


def size_difference(plan: Plan, problem: PlanningProblem) -> str:
    """Return in words where networks answer for other images than those they join; "" nowhere."""
    new = problem.networks[0].architecture
    for network in plan.networks:
        for field in ("num_classes", "input_channels", "input_size"):
            there, wanted = (getattr(each, field) for each in (network.architecture, new))
            if there != wanted:
                return (
                    f"network {network.name} has {field} {there}, the networks that are to join "
                    f"it {wanted}"
                )
    return ""


def _check_networks(plan: Plan, problem: PlanningProblem) -> None:
    if problem.file_bytes is not None:
        raise InvalidSpecError(
            "a budget in bytes is of a whole file: give what the new networks may add as "
            "parameters or as a fraction",
            field="/budget",
        )
    if difference := size_difference(plan, problem):
        raise InvalidSpecError(f"{difference}: give them the same", field="/networks")
    count = len(plan.networks) + len(problem.networks)
    if count > MAX_NETWORKS:
        raise InvalidSpecError(
            f"there would be {count} networks in one bank: at most {MAX_NETWORKS}",
            field="/networks",
        )
    built = arch.layer_table(plan.networks, embeddings=True).layers
    shapes = {layer.key: layer.shape for layer in built}
    if not all(shapes.get(s.key) == s.shape for group in plan.groups for s in group.slots):
        raise InvalidSpecError(
            "the file's plan names layers that its networks have not: nothing can join it",
            field="/start/checkpoint",
        )
    known = [network.name for network in plan.networks]
    for index, network in enumerate(problem.networks):
        if network.name in known:
            raise InvalidSpecError(
                f"there is a network {network.name!r} in the file already (it has "
                f"{', '.join(known)}): give the new one another name, as networks "
                '[{"name": ..., "architecture": ...}]',
                field=f"/networks/{index}/name",
            )


def _offers(plan: Plan, table: LayerTable) -> dict[LayerKey, _Offer]:
    """Return for each new layer that can share the group that it joins."""
    _, options = methods.planned_by(plan)
    private: Collection[Role] = getattr(options, "private", _PRIVATE)
    sharing, _ = table.split(private)
    depths = _depths(table.layers)
    old = arch.layer_table(plan.networks, embeddings=True).layers
    classes, places = {la.key: la.kernel_class for la in old}, _depths(old)
    found: dict[LayerKey, _Offer] = {}
    for layer in sharing:
        groups = [
            group
            for group in plan.groups
            if any(classes[slot.key] == layer.kernel_class for slot in group.slots)
        ]
        ways = [(_distance(g, depths[layer.key], places), g.name, g) for g in groups]
        for _, name, group in sorted(ways, key=lambda way: way[:2]):
            offer = _offer(group, layer)
            if offer is not None:
                found[layer.key] = _Offer(layer=layer, group=name, cost=offer)
                break
    return found


def _offer(group: Group, layer: Layer) -> int | None:
    """Return what it costs that a layer joins a group; None: it cannot, or saves nothing."""
    grown = recipes.with_layer(group, _slot(layer))
    cost = layer.size if grown is None else grown.num_parameters - group.num_parameters
    return cost if cost < layer.size else None


def _slot(layer: Layer) -> Slot:
    return Slot(
        network=layer.network,
        layer=layer.name,
        shape=layer.shape,
        rows=(),
        deviation=layer.deviation,
    )


def _depths(layers: Sequence[Layer]) -> dict[LayerKey, float]:
    """Return where each layer stands in its network, from 0 to 1."""
    of_network: dict[str, list[Layer]] = defaultdict(list)
    for layer in layers:
        of_network[layer.network].append(layer)
    return {
        layer.key: place / max(1, len(own) - 1)
        for own in of_network.values()
        for place, layer in enumerate(own)
    }


def _distance(group: Group, depth: float, places: Mapping[LayerKey, float]) -> float:
    mean = sum(places[slot.key] for slot in group.slots) / len(group.slots)
    return abs(mean - depth)


def _affordable(offers: Iterable[_Offer], spare: int) -> list[_Offer]:
    """Return the offers that are taken: all but those that save least, as the rest pays for."""
    taken = sorted(offers, key=lambda offer: (offer.layer.size - offer.cost, offer.layer.key))
    while taken and taken[0].layer.size - taken[0].cost <= spare:
        first = taken.pop(0)
        spare -= first.layer.size - first.cost
    return taken


def _grown(group: Group, sharing: Sequence[_Offer]) -> Group:
    """Return a group with the layers that join it, in the order of their networks."""
    joining = [offer.layer for offer in sharing if offer.group == group.name]
    if not joining:
        return group
    found = group.model_copy(update={"joined": ()})
    for layer in sorted(joining, key=lambda layer: layer.key):
        grown = recipes.with_layer(found, _slot(layer))
        assert grown is not None
        found = grown
    return found.model_copy(update={"joined": (*group.joined, len(group.slots))})


def _plain(layer: Layer) -> PrivateLayer:
    return PrivateLayer(network=layer.network, layer=layer.name, shape=layer.shape)
