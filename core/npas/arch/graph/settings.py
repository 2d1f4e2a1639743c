"""What a setting of a module or function may be: checked before torch sees it.

A signature is a line of words such as "input:tensor dim:dim keepdim:flag=false". Tensors come
from a node's inputs, in order; all else from the settings of its kind. Numbers are held to ranges
in which torch computes or refuses: some kernels end the process where a count is 0.
"""

import functools
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from npas.spec.graph import Batch

MAX_COUNT = 65_536
MAX_SIZE = 2**31
MAX_NUMBER = 1e38

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int64": torch.int64,
    "int32": torch.int32,
    "bool": torch.bool,
}
"""Types of numbers, by the names that graphs use."""

TENSORS = ("tensor", "tensor?", "tensors", "operand")
"""Kinds of arguments that come from inputs; an operand may be a number among the settings."""


class UnfitSettingError(ValueError):
    """A setting is not what its place allows; the message says what is."""


def _refuse(value: object, allowed: str) -> UnfitSettingError:
    shown = repr(value)
    return UnfitSettingError(f"{shown if len(shown) < 80 else shown[:77] + '...'}: give {allowed}")


def _between(low: int, high: int) -> Callable[[Any], int]:
    def checked(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise _refuse(value, f"a whole number, {low:,} to {high:,}")
        return value

    return checked


def _few(one: Callable[[Any], Any], most: int) -> Callable[[Any], Any]:
    """Return a check of one value or of a list of some."""

    def checked(value: Any) -> Any:
        if isinstance(value, tuple | list):
            if len(value) > most:
                raise _refuse(value, f"at most {most}")
            return tuple(one(each) for each in value)
        return one(value)

    return checked


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise _refuse(value, "true or false")
    return value


def _number(value: Any) -> float | int:
    if type(value) not in (int, float) or not abs(value) <= MAX_NUMBER:
        raise _refuse(value, "a finite number")
    return value  # type: ignore[no-any-return]  # int or float, as just seen


def _positive(value: Any) -> float | int:
    if not _number(value) > 0:
        raise _refuse(value, "a number above 0")
    return _number(value)


def _probability(value: Any) -> float | int:
    if not 0 <= _number(value) < 1:
        raise _refuse(value, "a probability, at least 0 and below 1")
    return _number(value)


def _size(value: Any) -> int | Batch:
    return value if isinstance(value, Batch) else _between(-1, MAX_SIZE)(value)


def _sizes(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list) or len(value) > 12:
        raise _refuse(value, "a list of at most 12 sizes")
    return tuple(_size(each) for each in value)


def _padding(value: Any) -> Any:
    if isinstance(value, str):
        if value not in ("same", "valid"):
            raise _refuse(value, "numbers, same or valid")
        return value
    return _few(_between(0, 4096), 3)(value)


def _dtype(value: Any) -> torch.dtype:
    if not isinstance(value, str) or value not in DTYPES:
        raise _refuse(value, f"one of {', '.join(DTYPES)}")
    return DTYPES[value]


def _equation(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(
        r"[a-zA-Z.]{1,24}(,[a-zA-Z.]{1,24}){0,2}->[a-zA-Z.]{0,24}", value.replace(" ", "")
    ):
        raise _refuse(value, "an equation of at most three tensors, such as bhqd,bhkd->bhqk")
    return value.replace(" ", "")


def _place(value: Any) -> Any:
    """Return one part of an index: a number, a slice, an ellipsis or a new dimension."""
    limited = _between(-MAX_SIZE, MAX_SIZE)
    if value is None or value == "...":
        return None if value is None else Ellipsis
    if isinstance(value, tuple | list):
        if len(value) != 3 or value[2] == 0:
            raise _refuse(value, "start, stop and step of a slice, null where left out")
        parts = [
            each if each is None or isinstance(each, Batch) else limited(each) for each in value
        ]
        if any(isinstance(each, Batch) for each in parts):
            return tuple(parts)
        return slice(*parts)
    return limited(value)


def _index(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list) or len(value) > 12:
        raise _refuse(value, "a list of at most 12 parts of an index")
    return tuple(_place(each) for each in value)


_COUNT = _between(1, MAX_COUNT)
_WHOLE = _between(0, MAX_COUNT)
_DIM = _between(-12, 11)
_INT = _between(-MAX_SIZE, MAX_SIZE)

_CHECKS: dict[str, Callable[[Any], Any]] = {
    "count": _COUNT,
    "counts": _few(_COUNT, 8),
    "wholes": _few(_WHOLE, 8),
    "outputs": _few(lambda value: None if value is None else _COUNT(value), 3),
    "few": _between(1, 64),
    "int": _INT,
    "ints": _few(_INT, 12),
    "dim": _DIM,
    "axis": _between(0, 11),
    "dims": _few(_DIM, 12),
    "size": _size,
    "sizes": _sizes,
    "flag": _flag,
    "number": _number,
    "positive": _positive,
    "positives": _few(_positive, 3),
    "probability": _probability,
    "padding": _padding,
    "dtype": _dtype,
    "equation": _equation,
    "index": _index,
}


def check(kind: str, value: Any) -> Any:
    """Return a setting as torch takes it.

    Args:
        kind: of the setting, "?" behind it where null is allowed.
        value: as the graph has it.

    Raises:
        UnfitSettingError: it is not of that kind.
    """
    if kind.endswith("?"):
        return None if value is None else check(kind[:-1], value)
    if kind.startswith("word("):
        words = kind[5:-1].split("|")
        if not isinstance(value, str) or value not in words:
            raise _refuse(value, " or ".join(words))
        return value
    return _CHECKS[kind](value)


_REQUIRED = object()


@dataclass(frozen=True, kw_only=True, slots=True)
class Argument:
    """One argument of a module or function.

    Attributes:
        name: as torch has it.
        kind: one of TENSORS, or a kind of setting.
        default: where it is left out; not there where it must be given.
    """

    name: str
    kind: str
    default: Any = _REQUIRED

    @property
    def is_required(self) -> bool:
        """Whether it must be given."""
        return self.default is _REQUIRED

    @property
    def is_tensor(self) -> bool:
        """Whether it comes from inputs."""
        return self.kind in TENSORS


@functools.cache
def arguments(signature: str) -> tuple[Argument, ...]:
    """Return the arguments that a line of words describes."""
    found = []
    for word in signature.split():
        name, _, rest = word.partition(":")
        kind, has_default, default = rest.partition("=")
        if has_default:
            found.append(Argument(name=name, kind=kind, default=_literal(default)))
        else:
            found.append(Argument(name=name, kind=kind))
    return tuple(found)


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def checked(signature: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a kind as torch takes them, those left out left out.

    Raises:
        UnfitSettingError: one is unknown, missing, or not what its place allows.
    """
    known = {each.name: each for each in arguments(signature)}
    for name in settings:
        if name not in known:
            allowed = ", ".join(known) or "none"
            raise UnfitSettingError(f"there is no setting {name!r}; settings: {allowed}")
    found: dict[str, Any] = {}
    for name, argument in known.items():
        if name in settings:
            found[name] = _checked_one(argument, settings[name])
        elif argument.is_required and not argument.is_tensor:
            raise UnfitSettingError(f"the setting {name!r} is needed")
    return found


def _checked_one(argument: Argument, value: Any) -> Any:
    kind = {"operand": "number", "tensor?": "flag"}.get(argument.kind, argument.kind)
    if kind in TENSORS:
        raise UnfitSettingError(f"{argument.name!r} comes from the inputs; it is no setting")
    try:
        return check(kind, value)
    except UnfitSettingError as error:
        raise UnfitSettingError(f"{argument.name}: {error}") from None


def plain(value: Any) -> Any:
    """Return a value of torch's as a graph says it; TypeError for what cannot be said."""
    if value is None or isinstance(value, bool | str | Batch):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"the number {value} has no JSON")
        return value
    if isinstance(value, int):
        return int(value)
    if value is Ellipsis:
        return "..."
    if isinstance(value, slice):
        return [plain(each) for each in (value.start, value.stop, value.step)]
    if isinstance(value, torch.dtype):
        names = [name for name, dtype in DTYPES.items() if dtype == value]
        if names:
            return names[0]
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    raise TypeError(f"a {type(value).__name__} is not among what a graph can say")
