"""Where jobs stand in a sweep."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

BASELINE = "dense"
"""The method that everything of a sweep is compared with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepPoint:
    """Where a job stands in its sweep: places in the lists of the request, from 0.

    Attributes:
        architecture: in `architectures`, or in `networks`.
        budget: in `budgets`; None: the dense size, of a baseline that the request did not list.
        method: in `methods`; None: of such a baseline.
        seed: the seed itself.
        is_baseline: whether the other jobs of this network are compared with it.
    """

    architecture: int
    budget: int | None
    method: int | None
    seed: int
    is_baseline: bool

    def to_json(self) -> dict[str, Any]:
        """Return the members, as a job's row holds them."""
        return asdict(self)


def product(
    num_architectures: int,
    num_budgets: int,
    methods: Sequence[str],
    seeds: Sequence[int],
    *,
    has_baseline: bool,
) -> Iterator[SweepPoint]:
    """Yield all points, the whole of the first seed first: so there is soon something to see.

    A baseline stands before what is compared with it.

    Args:
        num_architectures: that are swept.
        num_budgets: in the list of the request.
        methods: their names.
        seeds: of the trainings.
        has_baseline: whether there is one for each network and seed, beside the list.
    """
    for seed in seeds:
        for architecture in range(num_architectures):
            if has_baseline:
                yield SweepPoint(
                    architecture=architecture,
                    budget=None,
                    method=None,
                    seed=seed,
                    is_baseline=True,
                )
            for method, name in enumerate(methods):
                for budget in range(num_budgets):
                    yield SweepPoint(
                        architecture=architecture,
                        budget=budget,
                        method=method,
                        seed=seed,
                        is_baseline=name == BASELINE,
                    )
