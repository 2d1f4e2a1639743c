"""Who else has a module's tensors: attributes, lists, functions, and views in the same memory."""

import functools
import inspect
from collections.abc import Iterator, Mapping
from collections.abc import Set as AnySet
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from npas.arch.own.tensors import place
from npas.torch_internals import buffers_of, parameters_of

_DEPTH = 4
"""Lists in lists, and objects in objects, that are looked into."""

_OWN = ("_parameters", "_buffers", "_modules")
_EMPTY = (str, bytes, int, float, complex, type(None), type)


def elsewhere(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield tensors that a module reaches otherwise than as parameters and buffers, and where.

    Looked into are attributes of all modules inside, and what they hold: lists, dicts, functions
    with what they enclose, objects of the user's own, modules that are registered nowhere.
    """
    known = {id(each) for each in module.modules()}
    for path, inner in module.named_modules():
        for name, value in _attributes(inner):
            yield from _inside(value, f"{path}.{name}" if path else name, _DEPTH, known)


def kept(module: nn.Module) -> dict[int, str]:
    """Return where the parameters are that something beside the modules holds, by their ids."""
    return {id(t): where for where, t in elsewhere(module) if isinstance(t, nn.Parameter)}


def alias(module: nn.Module) -> tuple[str, str] | None:
    """Return a parameter, and where another tensor lies in its memory; None where none does.

    Such a tensor has the numbers of before as soon as the parameter gets other memory. Parameters
    that lie in each other are not looked for, see `npas.arch.own.tensors.overlap`.
    """
    own: dict[str, list[tuple[int, int, str]]] = {}
    known = set()
    for name, each in module.named_parameters(remove_duplicate=False):
        known.add(id(each))
        if _has_place(each):
            memory, start, end = place(each)
            own.setdefault(memory, []).append((start, end, name))
    for where, tensor in (*_buffers(module), *elsewhere(module)):
        if id(tensor) not in known and _has_place(tensor):
            memory, start, end = place(tensor)
            for first, last, name in own.get(memory, ()):
                if start < last and first < end:
                    return name, where
    return None


def _buffers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield all buffers, those that no file has among them."""
    for path, inner in module.named_modules():
        for name, buffer in buffers_of(inner).items():
            if buffer is not None:
                yield f"{path}.{name}" if path else name, buffer


def _has_place(tensor: Tensor) -> bool:
    is_plain = tensor.layout is torch.strided and not tensor.is_quantized
    return is_plain and not nn.parameter.is_lazy(tensor) and tensor.numel() > 0


def _attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield attributes of a module's own, but for those that its forward makes anew."""
    for name, value in vars(module).items():
        is_renewed = isinstance(module, nn.RNNBase) and name == "_flat_weights"
        is_computed = f"{name}_orig" in parameters_of(module)  # spectral norms, pruned weights
        if name not in _OWN and not is_renewed and not is_computed:
            yield name, value


def _inside(value: Any, where: str, depth: int, known: set[int]) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield where, value
    elif isinstance(value, np.ndarray):
        yield from _of_array(value, where)
    elif depth and not isinstance(value, _EMPTY) and id(value) not in known:
        known.add(id(value))
        for name, each in _parts(value):
            if not isinstance(each, _EMPTY):
                yield from _inside(each, where + name, depth - 1, known)


def _of_array(value: np.ndarray[Any, Any], where: str) -> Iterator[tuple[str, Tensor]]:
    if value.dtype.kind in "fiub" and value.flags.writeable and min(value.strides, default=0) >= 0:
        yield where, torch.from_numpy(value)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a value holds, and how one comes to it."""
    if isinstance(value, nn.Module):
        held = {**parameters_of(value), **buffers_of(value)}
        for name, each in [*held.items(), *value.named_children(), *_attributes(value)]:
            yield f".{name}", each
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield f"[{key!r}]", each
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield f"[{index}]", each
    elif isinstance(value, AnySet):
        for each in value:
            yield "{...}", each
    elif isinstance(value, functools.partial):
        for each in (value.func, *value.args, *value.keywords.values()):
            yield "(...)", each
    elif isinstance(value, FunctionType):
        enclosed = inspect.getclosurevars(value).nonlocals.values()
        for each in (*enclosed, *(value.__defaults__ or ())):
            yield "(...)", each
    elif isinstance(value, MethodType):
        yield "()", value.__self__
    elif not type(value).__module__.startswith("torch"):
        for name, each in getattr(value, "__dict__", {}).items():
            yield f".{name}", each
