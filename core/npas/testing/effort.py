"""How hard the laws are tried: the one place that sets counts and sizes of what is drawn."""

import dataclasses
import os
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """Examples per law, and the size of what is drawn.

    Attributes:
        tables: random layer tables, each with a budget, for a law of methods.
        networks: budgets of real networks for a law of methods.
        groups: random groups for a law of recipes.
        max_layers: of one network of a random table; it has up to three networks.
        max_side: of a random layer's outputs and inputs.
        is_random: draw other examples in every run; False: the same ones always.
        is_shrunk: look for the smallest example that fails, which takes a while.
    """

    tables: int = 40
    networks: int = 10
    groups: int = 60
    max_layers: int = 14
    max_side: int = 9
    is_random: bool = False
    is_shrunk: bool = True


SHARE = "NPAS_TEST_EFFORT"
"""Environment variable: the part of all examples that is tried, above 0 and at most 1, as 0.1."""


def _scaled(examples: int) -> int:
    """Return how many of the examples are tried, at least one."""
    return max(1, round(examples * float(os.environ.get(SHARE, "1"))))


def tried(holds: Callable[[st.DataObject], None], examples: int, effort: Effort) -> None:
    """Try a law on examples; a note of the AssertionError shows the one that fails.

    Args:
        holds: draws what it needs and raises AssertionError where the law is broken.
        examples: how many.
        effort: says whether they are the same ones always.
    """
    search = (Phase.explicit, Phase.generate, Phase.target)
    told = settings(
        phases=(*search, Phase.shrink) if effort.is_shrunk else search,
        deadline=None,
        derandomize=not effort.is_random,
        database=None,
        max_examples=_scaled(examples),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    told(given(st.data())(holds))()
