"""What two settings of modules are compared by, and how a message names one.

Values that do the same are alike: a NumPy number and Python's, a function and itself, two partial
functions of the same. What cannot be looked into is alike only to another of its type.
"""

import enum
import functools
import types
from typing import Any

import numpy as np
import torch

_PLAIN = (
    *(int, float, complex, str, bytes, range, slice, set, frozenset),
    *(torch.dtype, enum.Enum, types.NoneType, types.CodeType),
)

_LONGEST = 60
"""Characters of a setting that a message shows."""


def likeness(value: object, within: tuple[int, ...] = ()) -> object:
    """Return a value that is equal for equal settings.

    Args:
        value: of the setting.
        within: identities of what it is a part of, which may be itself.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, _PLAIN):
        return value
    if id(value) in within:
        return "itself"
    parts, within = _parts(value), (*within, id(value))
    if isinstance(parts, dict):
        return {key: likeness(each, within) for key, each in parts.items()}
    return [likeness(each, within) for each in parts]


def _parts(value: Any) -> list[Any] | dict[Any, Any]:
    """Return the parts of a value, all of them plain in the end."""
    if isinstance(value, tuple | list | dict):
        return value if isinstance(value, dict) else list(value)
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return [*_name(value), value.__code__, value.__defaults__, *cells]
    if isinstance(value, types.MethodType):
        return [value.__func__]
    if isinstance(value, type | types.BuiltinFunctionType):
        return list(_name(value))
    if isinstance(value, torch.Tensor):
        return ["a tensor", tuple(value.shape)]  # on the meta device there is no more to compare
    if isinstance(value, np.ndarray):
        return ["an array", value.tolist()]
    return ["of type", *_name(type(value)), getattr(value, "__name__", None)]


def _name(value: Any) -> tuple[str, str, str]:
    """Return where a class or function is from; some of torch's share all but the last part."""
    return str(value.__module__), value.__qualname__, value.__name__


def described(value: Any) -> str:
    """Return a setting as a message names it, at most about 60 characters."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, functools.partial):
        return f"a partial {described(value.func)}"
    if isinstance(value, types.MethodType):
        return f"a method {value.__qualname__}"
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        name = value.__name__
        return f"a lambda of {value.__module__}" if "<" in name else f"{value.__module__}.{name}"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
