"""Copies of modules, which may hold what Python cannot copy."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from torch import nn

from npas.errors import InvalidSpecError, NpasError
from npas.torch_internals import lacks_memory

_Modules = TypeVar("_Modules", bound=nn.Module | Mapping[str, nn.Module])


def copied(modules: _Modules, memo: dict[int, Any] | None = None) -> _Modules:
    """Return a deep copy of a module, or of several by name.

    Args:
        modules: left as they are.
        memo: by the numbers of objects, what stands in the place of their copies.

    Raises:
        InvalidSpecError: something in them cannot be copied; the message names it.
    """
    try:
        return copy.deepcopy(modules, memo)
    except NpasError:
        raise
    except Exception as error:  # what the user's objects do when they are copied is theirs
        if lacks_memory(error):
            raise
        places = _uncopied(modules)
        raise InvalidSpecError(
            f"the module cannot be copied, which is needed here: {next(places, 'it')} raises "
            f"{type(error).__name__}: {error}; leave that out of the module, or give its class "
            "a __deepcopy__"
        ) from error


def _uncopied(modules: nn.Module | Mapping[str, nn.Module]) -> Iterator[str]:
    """Yield the attributes that cannot be copied, by class and name."""
    roots = [modules] if isinstance(modules, nn.Module) else list(modules.values())
    inside = [inner for root in roots for inner in root.modules()]
    for inner in reversed(inside):  # what is around may hold those inside
        for name, value in vars(inner).items():
            if name in ("_modules", "_parameters", "_buffers"):
                continue
            try:
                copy.deepcopy(value)
            except Exception:  # as above
                yield f"{type(inner).__name__}.{name}"
