"""A sweep: every method at every budget, for every network and seed, as one request."""

import math
from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, model_validator

from npas.spec import (
    ArchitectureSpec,
    BudgetSpec,
    DatasetSpec,
    JobSpec,
    Labels,
    MethodSpec,
    PlanRequest,
    Priority,
    Seed,
    Spec,
    TrainingSpec,
    Unshared,
)
from npas.spec.sweep_lists import MAX_JOBS, Group, Many
from npas.spec.sweep_points import BASELINE, SweepPoint, product


class SweepSpec(Spec):
    """Jobs for all combinations of networks, budgets, methods and seeds."""

    architectures: Many[ArchitectureSpec] | None = None
    networks: Many[Group] | None = Field(
        None, description="in place of architectures: the networks of each job"
    )
    budgets: Many[BudgetSpec]
    methods: Many[MethodSpec] = Field(
        default_factory=lambda: (
            PlanRequest.model_fields["method"].get_default(call_default_factory=True),
        )
    )
    seeds: Many[Seed] = (0,)
    dataset: DatasetSpec
    unshared: Unshared = Field((), strict=False, description="as in a job")
    share_embeddings: bool = False
    training: TrainingSpec = Field(default_factory=TrainingSpec)
    labels: Labels = Field(default_factory=dict, description="of the sweep and of all its jobs")
    baseline: bool = Field(
        True, description="train each network without sharing, too, once for every seed"
    )
    infeasible: Literal["refuse", "leave_out"] = Field(
        "refuse", description="what to do about budgets below the minimum of a method"
    )
    priority: Priority = Field(0, description="of all jobs; higher ones are taken first")

    @model_validator(mode="after")
    def _one_kind_of_network(self) -> Self:
        if (self.architectures is None) == (self.networks is None):
            raise ValueError("give exactly one of architectures and networks")
        return self

    @model_validator(mode="after")
    def _not_too_many(self) -> Self:
        sizes = (self.num_architectures, len(self.budgets), len(self.methods), len(self.seeds))
        baselines = self.num_architectures * len(self.seeds) if self.baseline else 0
        count = math.prod(sizes) + baselines
        if count > MAX_JOBS:
            product = " x ".join(map(str, sizes))
            raise ValueError(
                f"{product} (networks, budgets, methods, seeds) and {baselines} baselines are "
                f"{count:,} jobs, at most {MAX_JOBS} are allowed: shorten a list, or send several "
                "sweeps"
            )
        return self

    @property
    def num_architectures(self) -> int:
        """Networks, or lists of networks, that are swept."""
        return len(self.architectures or self.networks or ())

    def points(self) -> Iterator[SweepPoint]:
        """Yield the points of all jobs, in the order in which they are to be taken."""
        return product(
            self.num_architectures,
            len(self.budgets),
            [method.name for method in self.methods],
            self.seeds,
            has_baseline=self.baseline,
        )

    def job(self, point: SweepPoint) -> JobSpec:
        """Return the job of a point, as it would be asked for alone."""
        shared = {
            name: getattr(self, name)
            for name in type(self).model_fields.keys() & JobSpec.model_fields.keys()
            if name in self.model_fields_set and name != "networks"
        }
        networks = self.networks[point.architecture] if self.networks else None
        alone = self.architectures[point.architecture] if self.architectures else None
        whole = BudgetSpec(fraction=1.0)
        return JobSpec(
            **shared,
            **({"architecture": alone} if alone else {"networks": networks}),
            budget=whole if point.budget is None else self.budgets[point.budget],
            method=(
                MethodSpec(name=BASELINE) if point.method is None else self.methods[point.method]
            ),
            seed=point.seed,
        )
