"""Files of modules of the user's own: what they hold, and the module they are put into."""

import os
from collections.abc import Mapping

from torch import Tensor, nn

from npas import arch
from npas.arch.own import refusal
from npas.arch.own.sameness import difference, frozen
from npas.arch.own.tensors import Held, held
from npas.errors import CheckpointError, InvalidSpecError, PlanError
from npas.plans import Plan
from npas.sharing.checks import named_as_planned
from npas.sharing.model import SharedModel
from npas.sharing.structure import check_same, check_structure

Into = nn.Module | Mapping[str, nn.Module]
"""The module that a file is put into; of several networks, by name."""


def has_own(plan: Plan) -> bool:
    """Return whether a plan has a network that only the user can build."""
    return any(network.architecture.module is not None for network in plan.networks)


def tensors_of(model: SharedModel) -> dict[str, Tensor]:
    """Return what a file of a shared network holds, by name.

    Of a user's module, whose state may be of any form and holds tied weights under each of their
    names, it is every tensor once, in memory of its own.
    """
    if not has_own(model.plan):
        return dict(model.state_dict())
    return {each.name: _alone(each) for each in held(model)}


def _alone(each: Held) -> Tensor:
    tensor = each.tensor.detach()
    is_whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if is_whole and each.kind != "buffer" else tensor.clone()


def check_networks(model: SharedModel, planned: SharedModel) -> None:
    """Check that networks are still those that their plan says.

    Args:
        model: that is to be saved.
        planned: made of its plan; of a user's module it has the tensors alone.

    Raises:
        PlanError: a module or a setting differs.
    """
    for network in model.plan.networks:
        name, spec = network.name, network.architecture.module
        if spec is None:
            check_same(name, model.network(name), planned.network(name))
            continue
        slots = [slot for group in model.plan.groups for slot in group.slots]
        generated = {slot.layer for slot in slots if slot.network == name}
        wrong = difference(model.network(name), spec, generated=generated)
        if wrong:
            raise PlanError(f"network {name} is no longer the module that was planned: {wrong}")


def given(
    path: str | os.PathLike[str], plan: Plan, into: Into | None
) -> dict[str, nn.Module] | None:
    """Return the networks that a file is put into; None: it says how to build them.

    Args:
        path: of the file, for messages.
        plan: of the file.
        into: what the user gave.

    Raises:
        CheckpointError: a module is needed and is not there, or is another one; the message says
            which, or names the first layer that differs.
        InvalidSpecError: it is no module, shares already, or has no memory.
    """
    own = {n.name: n.architecture.module for n in plan.networks if n.architecture.module}
    if into is None:
        if own:
            kinds = ", ".join(spec.kind for spec in own.values())
            raise CheckpointError(
                f"{path} is of {kinds}, which only its code can build: give an instance, with any "
                f"weights, as {_way(plan)}"
            )
        return None
    if isinstance(into, Mapping):
        into = _built(plan, into)
    networks = named_as_planned(into, plan)
    for name, network in networks.items():
        _check(path, name, network, plan)
    return networks


def _way(plan: Plan) -> str:
    if len(plan.networks) == 1:
        return "npas.load(path, into=MyNet())"
    return "npas.load(path, into={name: module, ...})"


def _built(plan: Plan, into: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Return the modules that were given, and beside them those that a plan can build."""
    built = {
        network.name: arch.build_uninitialised(network.architecture)
        for network in plan.networks
        if network.name not in into and network.architecture.module is None
    }
    return {**into, **built}


def _check(path: str | os.PathLike[str], name: str, network: nn.Module, plan: Plan) -> None:
    refusal.check(network, name)
    if any(each.tensor.is_meta for each in held(network)):
        raise InvalidSpecError(f"network {name} is on the meta device: give it memory, on a CPU")
    spec = next(each for each in plan.networks if each.name == name)
    if spec.architecture.module is None:
        alone = plan.model_copy(update={"networks": (spec,)})
        try:
            check_structure({name: network}, alone)
        except PlanError as error:
            told = f"{path} is not of this module: {error}"
            if spec.architecture.graph is not None:
                told += (
                    "; the file is of a module that was declared: its weights are put into the "
                    "module itself by module.load_state_dict(npas.load(path, "
                    "materialise=True).state_dict())"
                )
            raise CheckpointError(told) from error
        return
    wrong = difference(network, spec.architecture.module, is_read=True)
    if wrong:
        kind = spec.architecture.module.kind
        raise CheckpointError(f"{path} is of another module, a {kind}: of the one given, {wrong}")


def put(model: SharedModel, tensors: Mapping[str, Tensor]) -> None:
    """Give a shared network the values of a file, in the file's precision.

    Each tensor stays the object that it is, so that ties and other references stay too.

    Args:
        model: has tensors of these names and shapes.
        tensors: from the file.
    """
    for each in held(model):
        each.tensor.data = tensors[each.name].to(each.tensor.device)
    for network in model.plan.networks:
        if network.architecture.module is not None:
            stays = frozen(network.architecture.module)
            for name, parameter in model.network(network.name).named_parameters():
                parameter.requires_grad_(not stays[name])
