"""Finds methods, recipes, datasets and families: one file each, the file name is the name."""

import difflib
import functools
import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType

from npas.errors import UnknownNameError


@functools.cache
def names(package: str) -> tuple[str, ...]:
    """Return the sorted module names of a package, private ones (leading underscore) left out.

    Args:
        package: dotted name, such as "npas.methods".
    """
    folder = importlib.import_module(package).__path__
    return tuple(sorted(m.name for m in pkgutil.iter_modules(folder) if m.name[0] != "_"))


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three known names that look like `name`, the most alike first."""
    return difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)


def canonical(name: str) -> str:
    """Return a name as its file has it: "-" and "_" are the same to users."""
    return name.replace("-", "_")


def load(package: str, name: str, *, kind: str, field: str = "") -> ModuleType:
    """Import the module that a name stands for.

    Args:
        package: dotted name of the package that holds the kind.
        name: as users write it.
        kind: the word for it in an error, such as "method".
        field: JSON pointer for the error.

    Raises:
        UnknownNameError: no such file in the package.
    """
    known = names(package)
    module = canonical(name)
    if module not in known:
        raise UnknownNameError(kind, name, known, nearest(module, known), field=field)
    return importlib.import_module(f"{package}.{module}")
