"""What a job computes and keeps, counted before it starts: plain numbers, no tensors."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

EVALUATION = "evaluate"
"""The stage that grades what is delivered; nothing is trained in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageWork:
    """What a stage computes, all of its epochs together, validation included.

    A backward pass counts as two forward passes.

    Attributes:
        stage: a `npas.jobs.context.StageName`, or EVALUATION.
        steps: optimiser steps; 0 where nothing is trained.
        operations: calls of the tensor library; each costs time whatever it computes.
        macs: multiply-adds of convolutions and matrix products.
        kept_bytes: what forward passes write to be read again.
    """

    stage: str
    steps: int
    operations: int
    macs: int
    kept_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """Of one job, for the plan that it is accepted with.

    Where a search or a race may change plan and network, it is that of the first plan for all
    epochs that may come; files are of the first plan.

    Attributes:
        kind: names, options and digest of what makes two trainings equally fast: networks with
            their sizes, method, precision.
        family: of the networks, and the precision: what makes them similarly fast.
        stages: in their order; those that the job has.
        memory_bytes: that the training holds at least, see `npas.jobs.memory`; without Python's
            and the libraries' own.
        file_bytes: of model.safetensors.
        resume_bytes: of the largest resume file.
        disk_bytes: that files take at the same time at most, while it trains and delivers.
    """

    kind: str
    family: str
    stages: tuple[StageWork, ...]
    memory_bytes: int
    file_bytes: int
    resume_bytes: int
    disk_bytes: int

    @property
    def steps(self) -> int:
        """Optimiser steps of all stages."""
        return sum(each.steps for each in self.stages)

    @property
    def macs(self) -> int:
        """Multiply-adds of all stages."""
        return sum(each.macs for each in self.stages)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON, for `of`."""
        return asdict(self)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """Return what `as_json` returned; what a later release added is left out."""
        stages = tuple(StageWork(**_known(StageWork, each)) for each in facts["stages"])
        return cls(**{**_known(cls, facts), "stages": stages})


def _known(kind: Any, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: facts[field.name] for field in fields(kind)}
