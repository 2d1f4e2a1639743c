"""Finds methods, recipes, datasets, families, artifacts, corruptions: one file each, by its name.

Another distribution offers its own by an entry point of the group that is called like the
package, such as "npas.methods": the name is the name, the value the module.

Packages that only some of the library needs are found here, too: `pip install npas` leaves them
out.
"""

import difflib
import functools
import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, cast

from npas.errors import MissingPackageError, UnknownNameError


@functools.cache
def _files(package: str) -> frozenset[str]:
    """Return the module names of a package, private ones (leading underscore) left out."""
    folder = importlib.import_module(package).__path__
    return frozenset(m.name for m in pkgutil.iter_modules(folder) if m.name[0] != "_")


@functools.cache
def _offered(package: str) -> dict[str, EntryPoint]:
    """Return the entry points of other distributions; they cannot replace a file of our own."""
    found = {canonical(entry.name): entry for entry in entry_points(group=package)}
    return {name: entry for name, entry in found.items() if name not in _files(package)}


@functools.cache
def names(package: str) -> tuple[str, ...]:
    """Return all names of a kind, sorted.

    Args:
        package: dotted name of the package that holds the kind, such as "npas.methods".
    """
    return tuple(sorted((*_files(package), *_offered(package))))


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three known names that look like `name`, the most alike first.

    Letters alone are looked at, small or not, and digits; what stands before a colon may be
    missing. Names that are the same so far come alone.
    """
    asked = _letters(name)
    alike = {each: _likeness(asked, each) for each in known}
    found = sorted((each for each in alike if alike[each] >= 0.5), key=lambda e: -alike[e])
    return [each for each in found if alike[each] == 1][:3] or found[:3]


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _likeness(asked: str, known: str) -> float:
    """Return how alike names are, 0 to 1."""
    forms = {_letters(known), _letters(known.rpartition(":")[2])}
    return max(difflib.SequenceMatcher(None, asked, form).ratio() for form in forms)


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
        UnknownNameError: no such file in the package, and nobody else offers it.
    """
    known = names(package)
    module = canonical(name)
    if module not in known:
        raise UnknownNameError(kind, name, known, nearest(module, known), field=field)
    if module in _files(package):
        return importlib.import_module(f"{package}.{module}")
    return cast(ModuleType, _offered(package)[module].load())


def is_installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def imported(module: str, *, extra: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: dotted name, such as "torchvision.models".
        extra: of npas, that brings the package.

    Raises:
        MissingPackageError: it is not installed; the message says how to install it.
    """
    require(module.partition(".")[0], extra=extra)
    return importlib.import_module(module)


def require(package: str, *, extra: str) -> None:
    """Check that an optional package is installed, without importing it.

    Args:
        package: top-level name.
        extra: of npas, that brings it.

    Raises:
        MissingPackageError: it is not; the message says how to install it.
    """
    if not is_installed(package):
        raise MissingPackageError(
            f"{package} is not installed, and this needs it: pip install 'npas[{extra}]'"
        )
