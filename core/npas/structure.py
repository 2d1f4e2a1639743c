"""Whether a network is what its architecture builds: the same modules with the same settings.

Weights and statistics may be anyone's: they lie in a file. What a module does with them does not,
and is built anew from the plan's architecture when the file is read.
"""

import enum
import functools
import types
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from npas import arch
from npas.errors import PlanError
from npas.plans import Plan

_OF_TORCH = frozenset(vars(nn.Module()))
"""What every module has: its mode, its hooks, and its parts, which are compared apart."""

_HARMLESS = frozenset({"inplace"})
"""Settings that change no output."""

_PLAIN = (int, float, complex, str, bytes, torch.dtype, enum.Enum, types.NoneType)
_NAMED = (type, types.FunctionType, types.BuiltinFunctionType)


class _Anything:
    """Stands for what cannot be compared, such as tensors; equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]  # equal to everything, it cannot have one


_ANYTHING = _Anything()


def check_structure(networks: Mapping[str, nn.Module], plan: Plan) -> None:
    """Check that networks have the modules that a plan's architectures build.

    Args:
        networks: by the names that they have in the plan.
        plan: that they are for.

    Raises:
        PlanError: one differs; the message names the first module that does.
    """
    for network in plan.networks:
        built = arch.build_uninitialised(network.architecture, device="meta")
        check_same(network.name, networks[network.name], built)


def check_same(name: str, network: nn.Module, built: nn.Module) -> None:
    """Check that one network has the modules of another, with their settings.

    Args:
        name: of the network, for the message.
        network: that was given.
        built: what it should be; may be on the meta device.

    Raises:
        PlanError: it differs; the message names the first module that does.
    """
    found = dict(network.named_modules(remove_duplicate=False))
    for path, wanted in built.named_modules(remove_duplicate=False):
        difference = _difference(found[path], wanted)
        if difference:
            raise PlanError(
                f"network {name} is not what the plan's architecture builds, and a file would not "
                f"give it back: {path or type(wanted).__name__} {difference}; take npas.build of "
                "what `plan.networks` says, with any weights, or declare the network's layers"
            )


def _difference(given: nn.Module, wanted: nn.Module) -> str:
    """Return in words how two modules differ, children left out; "" if they do not."""
    if not _is_of_kind(given, wanted):
        return f"is {type(given).__name__}, not {type(wanted).__name__}"
    for what in (_children, _parameters, _buffers):
        ours, theirs = what(wanted), what(given)
        if ours != theirs:
            return f"has {what.__name__[1:]} {theirs}, not {ours}"
    if "forward" in vars(given) and "forward" not in vars(wanted):
        return "has a forward of its own"
    for key, value in vars(wanted).items():
        if key in _OF_TORCH or key in _HARMLESS:
            continue
        if _comparable(value) != _comparable(vars(given).get(key)):
            return f"has {key} {vars(given).get(key)!r}, not {value!r}"
    return ""


def _is_of_kind(given: nn.Module, wanted: nn.Module) -> bool:
    """Return whether modules are of one class, or norms that differ in who is asked, at most."""
    is_synchronised = isinstance(given, nn.SyncBatchNorm) and isinstance(
        wanted, nn.modules.batchnorm._BatchNorm
    )
    return type(given) is type(wanted) or is_synchronised


def _children(module: nn.Module) -> list[str]:
    return [f"{name} (none)" if child is None else name for name, child in module._modules.items()]


def _parameters(module: nn.Module) -> dict[str, Any]:
    return _shapes(module._parameters)


def _buffers(module: nn.Module) -> dict[str, Any]:
    return _shapes(module._buffers)


def _shapes(tensors: Mapping[str, torch.Tensor | None]) -> dict[str, Any]:
    return {name: None if t is None else tuple(t.shape) for name, t in tensors.items()}


def _comparable(value: object) -> object:
    """Return what two settings are compared by."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, tuple | list):
        return [_comparable(each) for each in value]
    if isinstance(value, dict):
        return {key: _comparable(each) for key, each in value.items()}
    if isinstance(value, functools.partial):
        return [_comparable(each) for each in (value.func, value.args, value.keywords)]
    if isinstance(value, _NAMED):
        return (value.__module__, value.__qualname__)
    return _ANYTHING
