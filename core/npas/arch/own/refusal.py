"""What cannot share, named: modules whose weights lie where no bank reaches them."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from npas.arch.own.holders import alias, kept
from npas.arch.own.tensors import held, overlap
from npas.errors import InvalidSpecError
from npas.plans import Plan
from npas.torch_internals import COMPILED, has_gradient_hooks

_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)
FIELD = "/networks"

GENERATED = "_npas_generated"
"""The mark on a module inside a shared network whose weight a bank makes."""


def check(module: nn.Module, name: str) -> None:
    """Check that a module's weights can be read off it, and made from banks.

    Args:
        module: as the user gave it, every lazy layer initialised.
        name: of the network, for the message.

    Raises:
        InvalidSpecError: they cannot; the message names the part, and what to do.
    """
    reason = _of_whole(module) or _of_tensors(module) or _of_memory(module)
    if reason:
        raise InvalidSpecError(f"network {name} cannot share: {reason}", field=FIELD)


def check_generated(module: nn.Module, name: str, layers: Iterable[str]) -> None:
    """Check that nothing holds on to weights that banks are to make.

    Args:
        module: that has the weights.
        name: of the network, for the message.
        layers: names of the weights.

    Raises:
        InvalidSpecError: something does; a plan that is made of the module as it is leaves such
            a weight as it is.
    """
    places = kept(module)
    for layer in layers:
        weight = module.get_parameter(layer)
        reason = "has gradient hooks" if has_gradient_hooks(weight) else ""
        if id(weight) in places:
            reason = f"is also held by {places[id(weight)]}"
        if reason:
            raise InvalidSpecError(
                f"network {name} cannot share as planned: {layer} {reason}, which a weight from "
                "a bank would not reach; let go of it, or plan the module as it is now, which "
                "leaves the weight out",
                field=FIELD,
            )


def uninitialised(module: nn.Module) -> list[str]:
    """Return the names of parameters and buffers that a lazy layer has not made yet."""
    named = [*module.named_parameters(), *module.named_buffers()]
    return [name for name, tensor in named if nn.parameter.is_lazy(tensor)]


def sharing_part(module: nn.Module) -> str | None:
    """Return the path of what shares in a module already, "" for the whole; None: nothing does."""
    for path, inner in module.named_modules():
        if isinstance(getattr(inner, "plan", None), Plan) or GENERATED in vars(inner):
            return str(path)
    return None


def _of_whole(module: nn.Module) -> str:
    shares = sharing_part(module)
    if shares is not None:
        return (
            f"{shares or 'it'} shares by a plan already, and has its weights from banks; give a "
            "module that does not, such as a new one, or one from materialise(). To plan a shared "
            "network anew, plan its .plan.networks, and call its regroup(plan)"
        )
    for path, inner in module.named_modules():
        where = path or "it"
        if isinstance(inner, torch.jit.ScriptModule):
            return f"{where} is scripted, and keeps its weights; give the module it was made of"
        if isinstance(inner, _WRAPPERS):
            return f"{where} is a {type(inner).__name__}; give its .module, and wrap what shares"
        if hasattr(inner, COMPILED):
            return f"{where} is compiled; give its .{COMPILED}, and compile what shares"
    if lazy := uninitialised(module):
        return (
            f"{lazy[0]} is of a lazy layer that has not run yet; give an example=(x, ...) of what "
            "forward takes, or run the module once"
        )
    return ""


def _of_tensors(module: nn.Module) -> str:
    for each in held(module):
        kind = type(each.tensor)
        if each.tensor.is_quantized or each.tensor.layout is not torch.strided:
            form = "quantised" if each.tensor.is_quantized else "sparse"
            return f"{each.name} is {form}; give the module with plain dense weights"
        if each.tensor.is_complex():
            return f"{each.name} is complex; keep its real and imaginary parts apart"
        if kind not in (Tensor, nn.Parameter, nn.Buffer):
            return f"{each.name} is a {kind.__name__}; give the module with plain tensors"
    state: Mapping[str, object] = module.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            return (
                f"its state has {name}, a {type(value).__name__}: files hold tensors alone; keep "
                "it in a buffer, or give the module without quantised layers"
            )
    return ""


def _of_memory(module: nn.Module) -> str:
    if lying := alias(module):
        name, where = lying
        return (
            f"{where} lies in the memory of {name}, and would keep old numbers when {name} gets "
            "new ones; compute it in forward, or hold the parameter itself"
        )
    found = overlap(held(module))
    if found is None:
        return ""
    one, other = found
    return (
        f"{one.name} and {other.name} are two tensors in the same memory, so that a step would "
        "change both twice; tie weights by one parameter, as in b.weight = a.weight"
    )


def check_instances(given: object) -> None:
    """Check that no class was given in the place of a module.

    Args:
        given: a module, or several by name, or anything else.

    Raises:
        InvalidSpecError: it is a class of modules, or one is.
    """
    for each in given.values() if isinstance(given, Mapping) else [given]:
        if isinstance(each, type) and issubclass(each, nn.Module):
            name = each.__name__
            raise InvalidSpecError(
                f"{name} is a class: give an instance, {name}() with what it takes", field=FIELD
            )
