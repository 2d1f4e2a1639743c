"""Whether networks are those that a plan is for: every layer there, of its shape, covered once."""

import math
from collections.abc import Iterable, Mapping

from torch import nn

from npas.arch.own import refusal
from npas.arch.own.sameness import difference
from npas.errors import InvalidSpecError, PlanError
from npas.plans import LayerKey, Plan, PrivateLayer, Slot
from npas.spec import NetworkSpec


def named_as_planned(
    networks: nn.Module | Mapping[str, nn.Module], plan: Plan
) -> dict[str, nn.Module]:
    """Return networks by name, in the order of the plan.

    Args:
        networks: a lone module for a plan of one network, else modules by network name.
        plan: that they are for.

    Raises:
        InvalidSpecError: they are no modules, or share already.
        PlanError: the plan is for networks of other names.
    """
    refusal.check_instances(networks)
    expected = [network.name for network in plan.networks]
    if isinstance(networks, nn.Module):
        if len(expected) > 1:
            raise PlanError(f"the plan is for networks {expected}, got one; give them by name")
        networks = {expected[0]: networks}
    if not isinstance(networks, Mapping):
        raise InvalidSpecError(
            f"networks of type {type(networks).__name__} cannot share: give a module, or several "
            "by name, as npas.build makes of `plan.networks`"
        )
    if set(networks) != set(expected):
        raise PlanError(f"the plan is for networks {expected}, got {[*networks]}")
    for name, network in networks.items():
        _check_module(name, network)
    return {name: networks[name] for name in expected}


def _check_module(name: str, network: object) -> None:
    """Refuse what is not a module, and a module that reads banks already."""
    if not isinstance(network, nn.Module):
        raise InvalidSpecError(
            f"network {name} is of type {type(network).__name__}, not a module: make one with "
            "npas.build"
        )
    if isinstance(getattr(network, "plan", None), Plan):
        raise InvalidSpecError(
            f"network {name} shares by a plan already: its regroup(plan) puts it under another"
        )


def check_own(networks: Mapping[str, nn.Module], plan: Plan) -> None:
    """Check that modules of the user's own are those that a plan was made of.

    Raises:
        InvalidSpecError: one cannot share at all.
        PlanError: one is another; the message names the first layer that differs.
    """
    for network in plan.networks:
        spec, name = network.architecture.module, network.name
        if spec is None:
            continue
        refusal.check(networks[name], name)
        wrong = difference(networks[name], spec)
        if wrong:
            raise PlanError(
                f"network {name} is not the module that the plan is for, a {spec.kind}: {wrong}; "
                "make a plan of this one with npas.plan(module, ...)"
            )


def check_unheld(networks: Mapping[str, nn.Module], plan: Plan) -> None:
    """Check that nothing holds on to weights that banks are to make.

    Raises:
        InvalidSpecError: something does; the message names the weight, and what holds it.
    """
    slots = [slot for group in plan.groups for slot in group.slots]
    for name, network in networks.items():
        layers = [slot.layer for slot in slots if slot.network == name]
        refusal.check_generated(network, name, layers)


def check_coverage(networks: Mapping[str, nn.Module], plan: Plan) -> None:
    """Check that every layer of the plan is there, has its shape, and is covered once.

    Raises:
        PlanError: it is not so.
    """
    slots: list[Slot | PrivateLayer] = [slot for group in plan.groups for slot in group.slots]
    seen: set[tuple[str, str]] = set()
    for slot in (*slots, *plan.private):
        name = slot.key
        if name in seen:
            raise PlanError(f"the plan covers {slot.network}/{slot.layer} twice")
        seen.add(name)
        try:
            parameter = networks[slot.network].get_parameter(slot.layer)
        except (AttributeError, KeyError) as error:
            raise PlanError(
                f"{slot.network} has no layer {slot.layer}; build what `plan.networks` says"
            ) from error
        if tuple(parameter.shape) != slot.shape:
            raise PlanError(
                f"{slot.network}/{slot.layer} is {tuple(parameter.shape)}, "
                f"the plan says {slot.shape}; build what `plan.networks` says"
            )
    counts = [_num_parameters(networks[network.name], network) for network in plan.networks]
    (trained, whole), dense = map(sum, zip(*counts, strict=True)), plan.ledger.dense
    # What the owner has frozen counts; what a network is built with frozen counts for no plan.
    if dense not in (trained, whole):
        raise PlanError(
            f"the networks have {trained:,} parameters, the plan is for {dense:,}; "
            "build what `plan.networks` says"
        )
    private = dense - sum(math.prod(slot.shape) for slot in slots)
    if private != plan.ledger.private:
        raise PlanError(
            f"{private:,} parameters stay outside groups, the plan says {plan.ledger.private:,}"
        )


def check_finite(networks: Mapping[str, nn.Module], keys: Iterable[LayerKey]) -> None:
    """Check that weights are numbers: no bank comes near to others, and no order of units does.

    Raises:
        InvalidSpecError: one holds infinite numbers, or NaN, or none at all, on the meta device;
            the message names it.
    """
    for network, layer in sorted(keys):
        weight = networks[network].get_parameter(layer)
        if weight.is_meta:
            raise InvalidSpecError(
                f"{network}/{layer} is on the meta device, and has no numbers that a bank could "
                "be fitted to: give the module memory, and weights"
            )
        if not bool(weight.isfinite().all()):
            raise InvalidSpecError(
                f"{network}/{layer} holds infinite numbers, or NaN, and no bank can be fitted to "
                "it: give weights of a training that did not diverge"
            )


def _num_parameters(network: nn.Module, spec: NetworkSpec) -> tuple[int, int]:
    """Return the trained parameters of a network, and all of them.

    Of a module of the user's own the plan says which are trained, whatever was frozen since.
    """
    own = spec.architecture.module
    if own is not None:
        return own.num_trained, own.num_trained
    parameters = list(network.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad), sum(
        p.numel() for p in parameters
    )
