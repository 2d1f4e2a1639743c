"""One network of several that share, alone, with as much of the banks as it reads."""

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

from npas.arch.own.copying import copied
from npas.plans import Group
from npas.recipes import Part
from npas.sharing.group import SharedGroup
from npas.sharing.model import OF_ALL, SharedModel, check_shared
from npas.sharing.restriction import parts, restricted, worth_sharing


def member(model: SharedModel, name: str) -> SharedModel:
    """Return one of the networks of a shared model as a shared model of its own.

    It computes the same, up to the rounding of matrix products with fewer rows. It holds copies of
    what the network reads: of banks only what its layers are made of (see `npas.recipes.part`),
    its own plain layers, norms and statistics. Layers that would read more than they are have
    plain weights. A file of it holds no more. Its `extra` is that of
    the model but for what is said of all networks together. The model is left as it is; a lone
    network's model is copied.

    Args:
        model: from `npas.share` or `npas.load`.
        name: of the network, as in `plan.networks`.

    Raises:
        InvalidSpecError: the model is not a shared network.
        PlanError: a recipe from elsewhere can make no part of a group.
        UnknownNameError: the plan has no network of that name.

    Example:
        >>> import npas
        >>> from npas.sharing.membership import member
        >>> from npas.spec import ArchitectureSpec, NetworkSpec
        >>> named = {"small": "resnet-8", "large": "resnet-14"}
        >>> specs = [
        ...     NetworkSpec(name=name, architecture=ArchitectureSpec(name=architecture))
        ...     for name, architecture in named.items()
        ... ]
        >>> plan = npas.plan(specs, budget={"fraction": 0.3})
        >>> model = npas.share({n.name: npas.build(n.architecture) for n in plan.networks}, plan)
        >>> small = member(model, "small")
        >>> small.plan.ledger.total < plan.ledger.total
        True
    """
    check_shared(model)
    network = model.network(name)
    if len(model.network_names) == 1:
        return copied(model)
    with torch.no_grad(), torch.device("cpu"):
        plain, found = _plain(model, name, network), parts(model.plan, [name])
        sharing = worth_sharing(found)
        for source in (each for each in found if each not in sharing):
            _write(_copied(model, source), source.group, plain)
        alone = SharedModel({name: plain}, restricted(model.plan, [name]))
        for source in sharing:
            alone.groups[source.group.name] = _copied(model, source)
    alone.origin.coded = _coded(model, name, sharing)
    alone.extra = {k: v for k, v in copy.deepcopy(model.extra).items() if k not in OF_ALL}
    for module in (alone, alone.networks, *alone.groups.modules()):
        module.training = model.training
    return alone


def _coded(model: SharedModel, name: str, sharing: Sequence[Part]) -> dict[str, Any] | None:
    """Return what a coded file rounded the member's tensors to, under the names they have now."""
    if model.origin.coded is None:
        return None
    before, found = f"networks.{model.network_names.index(name)}.", {}
    for tensor, step in model.origin.coded["steps"].items():
        if tensor.startswith(before):
            found[f"networks.0.{tensor.removeprefix(before)}"] = step
    for source in sharing:
        prefix = f"groups.{source.group.name}.templates."
        for place, (bank, *_) in enumerate(source.banks):
            if f"{prefix}{bank}" in model.origin.coded["steps"]:
                found[f"{prefix}{place}"] = model.origin.coded["steps"][f"{prefix}{bank}"]
    kept = [
        f"networks.0.{tensor.removeprefix(before)}"
        for tensor in model.origin.coded["kept"]
        if tensor.startswith(before)
    ]
    return {**model.origin.coded, "steps": found, "kept": kept}


def _copied(model: SharedModel, source: Part) -> SharedGroup:
    """Return copies of what some layers read of a group."""
    made = SharedGroup(source.group)
    made.copy_part(cast(SharedGroup, model.groups[source.group.name]), source)
    return made


def _write(banks: SharedGroup, group: Group, network: nn.Module) -> None:
    """Give a network the plain weights that banks make of some of its layers."""
    is_trained = any(each.requires_grad for each in banks.parameters())
    for slot, weight in zip(group.slots, banks.weights(), strict=True):
        path, _, attribute = slot.layer.rpartition(".")
        plain = nn.Parameter(weight.detach().clone().view(slot.shape), is_trained)
        network.get_submodule(path).register_parameter(attribute, plain)


def _plain(model: SharedModel, name: str, network: nn.Module) -> nn.Module:
    """Return a copy of a network with parameters, of no values, where others share.

    Composed weights may belong to a graph, and are not copied.
    """
    layers = [
        slot.layer for group in model.plan.groups for slot in group.slots if slot.network == name
    ]
    places = [layer.rpartition(".") for layer in layers]
    made = [network.get_submodule(path).__dict__.get(attribute) for path, _, attribute in places]
    nothing = torch.empty(0)
    plain = copied(network, {id(weight): nothing for weight in made if weight is not None})
    for path, _, attribute in places:
        module = plain.get_submodule(path)
        module.__dict__.pop(attribute, None)
        module.register_parameter(attribute, nn.Parameter(nothing))
    return plain
