"""Packages that only some of the library needs: `pip install npas` leaves them out."""

import importlib
import importlib.util
from typing import Any

from npas.errors import MissingPackageError


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
    package = module.partition(".")[0]
    if not is_installed(package):
        raise MissingPackageError(
            f"{package} is not installed, and this needs it: pip install 'npas[{extra}]'"
        )
    return importlib.import_module(module)
