"""How a call of torch's, as it was made, becomes a function of graphs with its settings."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from npas.arch.graph import settings
from npas.arch.graph.settings import UnfitSettingError

_OTHER_NAMES = {
    **{"axis": "dim", "keepdims": "keepdim", "x": "input", "self": "input"},
    **{"split_size": "split_size_or_sections", "exponent": "other", "mat2": "other"},
}
_SAYS_NOTHING = frozenset(
    {"inplace", "_stacklevel", "memory_format", "non_blocking", "copy", "training", "stacklevel"}
)
"""Keywords that change how something is computed, or that the network fills in."""
_AS_USUAL: Mapping[str, tuple[Any, ...]] = {
    **{"alpha": (1, 1.0), "out": (None,), "rounding_mode": (None,), "return_indices": (False,)},
    **{"divisor_override": (None,), "dtype": (None,)},
}
"""Keywords that graphs do not have, and the values at which nothing is lost."""

Read = Callable[[Tensor], int]


def bound(signature: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of each argument that was given.

    Raises:
        UnfitSettingError: something was given that the signature has no place for.
    """
    known = settings.arguments(signature)
    if [each.name for each in known] == ["equation", "operands"]:
        return {"equation": args[0], "operands": args[1:]}
    found: dict[str, Any] = {}
    rest = list(args)
    for argument in known:
        if not rest:
            break
        if argument.name in ("sizes", "dims") and argument is known[-1] and len(known) == 2:
            is_list = isinstance(rest[0], tuple | list)
            found[argument.name], rest = (rest[0], rest[1:]) if is_list else (tuple(rest), [])
        else:
            found[argument.name] = rest.pop(0)
    if any(type(value) is not bool and value is not None for value in rest):
        raise UnfitSettingError(
            f"it is called with {len(args)} arguments; a graph has {signature}"
        )
    names = {each.name for each in known}
    for given, value in kwargs.items():
        name = _named(given, names)
        if name in names:
            found[name] = value
        elif given not in _SAYS_NOTHING and value not in _AS_USUAL.get(given, (None,)):
            raise UnfitSettingError(f"{given}={value!r} has no place in a graph")
    return found


def _named(given: str, names: set[str]) -> str:
    if given in names:
        return given
    if given in ("shape", "size", "dims") and "sizes" in names:
        return "sizes"
    return _OTHER_NAMES.get(given, given)


def written(
    signature: str, values: Mapping[str, Any], read: Read
) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Return the nodes that a call reads, and its settings as a graph says them.

    Args:
        signature: of the function.
        values: of its arguments.
        read: a tensor -> the number of its node.

    Raises:
        UnfitSettingError: a value that graphs do not have there.
        TypeError: a value that has no JSON.
    """
    reads: list[int] = []
    found: dict[str, Any] = {}
    for argument in settings.arguments(signature):
        name, value = argument.name, values.get(argument.name)
        if argument.kind == "tensors":
            reads += [read(each) for each in values[name]]
        elif isinstance(value, Tensor):
            if not argument.is_tensor:
                raise UnfitSettingError(f"{name} is a tensor; a graph has a number there")
            reads.append(read(value))
            if argument.kind == "tensor?":
                found[name] = True
        elif name in values and argument.kind != "tensor?":
            said = settings.plain(value)
            if argument.is_required or said != argument.default:
                found[name] = said
    settings.checked(signature, found)
    return tuple(reads), found
