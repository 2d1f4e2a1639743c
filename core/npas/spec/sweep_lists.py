"""The lists of a sweep: everything in them stands once."""

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field

from npas.spec import NetworkSpec

MAX_JOBS = 200
"""Jobs of one sweep, its baselines included."""

Item = TypeVar("Item")


def _without_repeats(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for place, value in enumerate(values):
        if (first := values.index(value)) < place:
            raise ValueError(f"{place} repeats {first}, counted from 0; name each once")
    return values


def _under_names_of_their_own(networks: tuple[NetworkSpec, ...]) -> tuple[NetworkSpec, ...]:
    if len({network.name for network in networks}) < len(networks):
        raise ValueError("two networks have the same name")
    return networks


Many = Annotated[
    tuple[Item, ...],
    Field(min_length=1, max_length=MAX_JOBS, strict=False),
    AfterValidator(_without_repeats),
]
"""A list of a sweep."""

Group = Annotated[
    tuple[NetworkSpec, ...],
    Field(min_length=1, max_length=16, strict=False),
    AfterValidator(_under_names_of_their_own),
]
"""The networks of one job."""
