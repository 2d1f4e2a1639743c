"""A user's module read off as data: its layers, its tensors, its settings."""

import math
import warnings
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from npas.arch.layers import general_roles, weights
from npas.arch.own import refusal
from npas.arch.own.holders import kept
from npas.arch.own.settings import settings
from npas.arch.own.tensors import held
from npas.arch.own.trial import Trial, initialise, trial
from npas.errors import InvalidSpecError
from npas.plans import kaiming, rounded
from npas.spec import ModuleLayer, ModuleSpec, ModuleTensor
from npas.torch_internals import has_gradient_hooks, parameters_of


def read(module: nn.Module, name: str, example: object = None) -> ModuleSpec:
    """Return what a plan has to know of a module; no copy of its weights is made.

    Args:
        module: of the user; it is left as it was, but that lazy layers are initialised.
        name: of the network, for messages.
        example: what its forward takes, to run it once; None: it is not run.

    Raises:
        InvalidSpecError: its weights cannot be read off, or it does not run on the example.
    """
    if example is not None and refusal.uninitialised(module):
        initialise(module, example)
    refusal.check(module, name)
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise InvalidSpecError(
            f"network {name} has no parameter that is trained; set requires_grad of some",
            field=refusal.FIELD,
        )
    rows = _rows(module)
    hooked = [row[0] for row in rows if has_gradient_hooks(row[2])]
    _tell_plain(name, hooked, "it has gradient hooks, which see no weight that a bank makes")
    rows = [row for row in rows if row[0] not in hooked]
    tried = None
    if example is not None:
        tried = trial(module, example, [row[0] for row in rows], _others(module, rows))
        _tell_unread(name, [row[0] for row in rows], tried)
        _tell_plain(name, tried.written, "forward writes into it")
        found = [
            (name, kind, module.get_parameter(name)) for name, kind in tried.multiplied.items()
        ]
        rows = [row for row in _alike([*rows, *found]) if row[0] not in tried.unfit]
    return ModuleSpec(
        kind=f"{type(module).__module__}.{type(module).__qualname__}"[-500:],
        layers=_layers(rows, tried),
        tensors=tuple(
            ModuleTensor(
                name=each.name,
                shape=tuple(each.tensor.shape),
                dtype=str(each.tensor.dtype).removeprefix("torch."),
                kind=each.kind,
                ties=each.names[1:],
            )
            for each in held(module)
        ),
        settings=tuple(digest for _, digest in settings(module)),
        macs=None if tried is None else tried.macs,
    )


def _rows(module: nn.Module) -> list[tuple[str, str, nn.Parameter]]:
    """Return name, kind and weight of the layers that banks can make, embeddings included.

    A weight that something beside the layer holds, such as a list, stays as it is: nothing would
    renew it there.
    """
    places = kept(module)
    return _alike(
        [row for row in weights(module) if id(row[2]) not in places and _can_be_made(row[2])]
    )


def _alike(rows: list[tuple[str, str, nn.Parameter]]) -> list[tuple[str, str, nn.Parameter]]:
    """Return the weights that are of the precision, and on the device, of the first."""
    places = [(weight.dtype, weight.device) for _, _, weight in rows]
    return [row for row, place in zip(rows, places, strict=True) if place == places[0]]


def _can_be_made(weight: nn.Parameter) -> bool:
    return bool(weight.is_floating_point() and weight.numel() and 2 <= weight.dim() <= 5)


def _others(module: nn.Module, rows: Sequence[tuple[str, str, nn.Parameter]]) -> list[str]:
    """Return the parameters of modules of other hands than torch's that could be weights."""
    known = {id(weight) for _, _, weight in rows} | kept(module).keys()
    owners = Counter(id(p) for each in module.modules() for p in parameters_of(each).values())
    return [
        f"{path}.{name}" if path else name
        for path, inner in module.named_modules()
        if not type(inner).__module__.startswith("torch.")
        for name, each in parameters_of(inner).items()
        if each is not None
        and each.requires_grad
        and _can_be_made(each)
        and owners[id(each)] == 1
        and id(each) not in known
        and not has_gradient_hooks(each)
    ]


def _tell_unread(network: str, layers: Sequence[str], tried: Trial) -> None:
    unread = [name for name in layers if name not in tried.read]
    if unread:
        more = f" and {len(unread) - 1} more" if len(unread) > 1 else ""
        warnings.warn(
            f"network {network} does not read {unread[0]}{more} on the example, in evaluation "
            "mode; if it never does, leave the layer out of the module, because it counts",
            stacklevel=7,  # where npas.plan was called
        )


def _tell_plain(network: str, weights: Sequence[str], why: str) -> None:
    if weights:
        more = f" and {len(weights) - 1} more" if len(weights) > 1 else ""
        warnings.warn(
            f"network {network} keeps the plain weight {weights[0]}{more}: {why}",
            stacklevel=7,  # where npas.plan was called
        )


def _layers(
    rows: Sequence[tuple[str, str, nn.Parameter]], tried: Trial | None
) -> tuple[ModuleLayer, ...]:
    """Return the layers in the order in which they are read, where that is known."""
    order = {name: place for place, name in enumerate(tried.read)} if tried else {}
    ordered = sorted(rows, key=lambda row: order.get(row[0], len(order)))
    if not ordered:
        return ()
    names, shapes = [row[0] for row in ordered], [tuple(row[2].shape) for row in ordered]
    role_of = general_roles(names, shapes, 0)  # what classes it knows, if any, is not known
    return tuple(
        ModuleLayer(
            name=name,
            kind=kind,
            role=role_of(name)[0],
            stage=role_of(name)[1],
            deviation=_deviation(weight),
        )
        for name, kind, weight in ordered
    )


def _deviation(weight: Tensor) -> float | None:
    """Return the deviation of a weight's numbers; None for Kaiming's, or where none is usable.

    Numbers that were drawn differ from run to run, and a plan should not: a deviation that is, as
    far as so few numbers tell, that of one of torch's initialisers is said to be just that, and
    any other is told in two digits.
    """
    if weight.is_meta or weight.numel() < 2:
        return None
    with torch.no_grad():
        found = float(weight.float().std())
    if not 1e-6 <= found <= 1e6:  # nor where it is NaN
        return None
    taps = math.prod(weight.shape[2:])
    inputs, outputs = weight.shape[1] * taps, weight.shape[0] * taps
    usual = [kaiming(tuple(weight.shape)), math.sqrt(2 / outputs), math.sqrt(1 / (3 * inputs))]
    usual += [math.sqrt(2 / (inputs + outputs)), math.sqrt(1 / (3 * outputs)), 0.02, 1.0]
    near = min(usual, key=lambda each: abs(math.log(found / each)))
    if abs(math.log(found / near)) <= max(0.03, 4 / math.sqrt(2 * weight.numel())):
        return None if near == usual[0] else rounded(near)
    return float(f"{found:.2g}")
