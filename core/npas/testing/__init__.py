"""The conformance suite: what every method, recipe and family of architectures promises.

For authors: `check_method("name")`, `check_recipe("name", twin)` and `check_family("name")` try
every law and raise AssertionError where one is broken. docs/new-method.md and docs/new-recipe.md
write one of each and have it checked. Needs hypothesis: install `npas[testing]`.
"""

try:
    import hypothesis as _hypothesis  # noqa: F401 - only whether it is there
except ImportError as error:
    raise ImportError("npas.testing needs hypothesis: pip install 'npas[testing]'") from error

from collections.abc import Mapping, Sequence
from typing import Any

from npas.testing.effort import Effort
from npas.testing.families import FAMILY_LAWS, check_family, check_family_law
from npas.testing.methods import TABLE_LAWS, check_method_table_law, table_laws
from npas.testing.networks import (
    NETWORK_LAWS,
    NETWORKS,
    PLAN_LAWS,
    check_method_network_law,
    check_method_plan_law,
)
from npas.testing.recipes import (
    RECIPE_LAWS,
    Twin,
    banks,
    check_recipe,
    check_recipe_law,
    gain_of,
    group_of,
)

__all__ = [
    "FAMILY_LAWS",
    "NETWORK_LAWS",
    "PLAN_LAWS",
    "RECIPE_LAWS",
    "TABLE_LAWS",
    "Effort",
    "Twin",
    "banks",
    "check_family",
    "check_family_law",
    "check_method",
    "check_method_network_law",
    "check_method_plan_law",
    "check_method_table_law",
    "check_recipe",
    "check_recipe_law",
    "gain_of",
    "group_of",
    "table_laws",
]


def check_method(
    name: str, *, options: Sequence[Mapping[str, Any]] = (), effort: Effort | None = None
) -> None:
    """Check all promises of a method; see `npas.methods.Method`.

    Over random layer tables with its defaults and with each of the given options, and on real
    networks with its defaults: planned, built, run, saved and loaded. Takes seconds.

    Args:
        name: of the method, as `npas.plan` finds it.
        options: to try beside the defaults.
        effort: how hard to look; None: `Effort()`.

    Raises:
        AssertionError: a promise does not hold; a note shows the smallest example.
        UnknownNameError: no such method is found.

    Example:
        >>> from npas.testing import Effort, check_method
        >>> check_method("dense", effort=Effort(tables=5, networks=1))
    """
    for chosen in ({}, *options):
        for law in table_laws(chosen):
            check_method_table_law(law, name, chosen, effort=effort)
    for law in PLAN_LAWS:
        for networks in NETWORKS:
            check_method_plan_law(law, name, networks)
    for law in NETWORK_LAWS:
        check_method_network_law(law, name, effort=effort)
