"""Whether a network is what its architecture builds: the same modules with the same settings.

Weights and statistics may be anyone's: they lie in a file. What a module does with them does not,
and is built anew from the plan's architecture when the file is read.
"""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn

from npas import arch
from npas.arch.own.refusal import GENERATED
from npas.errors import PlanError
from npas.plans import Plan
from npas.sharing.likeness import described, likeness
from npas.torch_internals import (
    BATCH_NORM,
    NOTES_OF_COMPILE,
    buffers_of,
    children_of,
    parameters_of,
)

_OF_TORCH = frozenset(vars(nn.Module()))
"""What every module has: its mode, its hooks, and its parts, which are compared apart."""

_HARMLESS = frozenset({"inplace", GENERATED}) | NOTES_OF_COMPILE
"""Settings that change no output."""

_MISSING = object()

Parts = Mapping[str, object]
"""What a module is made of, by name."""


def check_structure(networks: Mapping[str, nn.Module], plan: Plan) -> None:
    """Check that networks have the modules that a plan's architectures build.

    Args:
        networks: by the names that they have in the plan.
        plan: that they are for.

    Raises:
        PlanError: one differs; the message names the first module that does.
    """
    for network in plan.networks:
        if network.architecture.module is not None:
            continue  # its code is the user's; `checks.check_own` looks at what is known of it
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
    return next(_differences(given, wanted), "")


def _differences(given: nn.Module, wanted: nn.Module) -> Iterator[str]:
    """Yield in words how two modules of one class differ, children left out."""
    for word, parts_of in _PARTS.items():
        ours, theirs = parts_of(given), parts_of(wanted)
        for name in dict.fromkeys((*theirs, *ours)):
            if name not in ours:
                yield f"lacks the {word} {name}"
            elif name not in theirs:
                yield f"has a {word} too many, {name}"
            elif ours[name] != theirs[name]:
                yield f"has a {word} {name} of {ours[name]}, not {theirs[name]}"
    if list(children_of(given)) != list(children_of(wanted)):
        yield f"has its children in another order: {', '.join(children_of(given))}"
    settings = vars(wanted).items()
    for key, value in ((k, v) for k, v in settings if k not in _OF_TORCH | _HARMLESS):
        found = getattr(given, key, _MISSING)
        if found is _MISSING:
            yield f"lacks {key}, which is {described(value)}"
        elif likeness(found) != likeness(value):
            yield f"has {key} {described(found)}, not {described(value)}"
    for key, value in vars(given).items():
        if key not in vars(wanted).keys() | _OF_TORCH | _HARMLESS and _has_say(wanted, key, value):
            yield f"has a {key} of its own, {described(value)}"


def _has_say(wanted: nn.Module, key: str, value: object) -> bool:
    """Return whether what a module has beside its settings may change what it does.

    Notes of the owner's change nothing; a function may be called, and what stands in for an
    attribute of the class is read in its place.
    """
    of_class = getattr(type(wanted), key, value)
    return callable(value) or likeness(of_class) != likeness(value)


def _is_of_kind(given: nn.Module, wanted: nn.Module) -> bool:
    """Return whether modules are of one class, or norms that differ in who is asked, at most."""
    is_synchronised = isinstance(given, nn.SyncBatchNorm) and isinstance(wanted, BATCH_NORM)
    return type(given) is type(wanted) or is_synchronised


def _children(module: nn.Module) -> Parts:
    return {
        name: "nothing" if child is None else "a module"
        for name, child in children_of(module).items()
    }


def _parameters(module: nn.Module) -> Parts:
    return _shapes(parameters_of(module))


def _buffers(module: nn.Module) -> Parts:
    return _shapes(buffers_of(module))


_PARTS: Mapping[str, Callable[[nn.Module], Parts]] = {
    "child": _children,
    "parameter": _parameters,
    "buffer": _buffers,
}


def _shapes(tensors: Mapping[str, torch.Tensor | None]) -> Parts:
    return {
        name: "nothing" if t is None else f"shape {tuple(t.shape)}" for name, t in tensors.items()
    }
