"""What a resume file says of a job, beside the tensors and facts of the trainer it was saved from.

A file is of this job if it is of the same request and the same images. The JSON is the format of
the first release; a field that a later one adds has a default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from torch import Tensor

from npas import train
from npas.delivery.race_report import RaceReport
from npas.delivery.report import AdjustmentReport
from npas.errors import CheckpointError, DataError
from npas.jobs import identity
from npas.jobs.context import RunContext, StageName
from npas.plans import Plan
from npas.train import State


class Facts(BaseModel):
    """Part of what a resume file says; what others add to it is kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


class RevisionFacts(Facts):
    """The plans of a job and what it took to find them.

    Attributes:
        plans: JSON of each, by version.
        search_seconds: that measuring took after the search.
        refinement: what it did; None before.
    """

    plans: dict[str, str]
    search_seconds: float
    refinement: dict[str, Any] | None

    @field_validator("plans")
    @classmethod
    def _has_the_first(cls, plans: dict[str, str]) -> dict[str, str]:
        if "0" not in plans:
            raise ValueError("the plan of the request is missing")
        return plans

    @property
    def first(self) -> Plan:
        """The plan of the request alone."""
        return Plan.from_json(self.plans["0"])


class JobFacts(Facts):
    """What a job has come to after its race.

    Attributes:
        stage: that was saved in.
        request: the job's, with the winner of its race as its method.
        dataset: fingerprint.
        revisions: of the plan.
        evidence: JSON; None before there is some.
        search_rows: fields of `npas.train.Row`.
        job_seconds: of all attempts.
        teaching: of the teacher.
        race: its report; None where there was none.
        adjusted: what was done otherwise than asked, and since when, as in the report.
    """

    stage: StageName
    request: str
    dataset: str
    revisions: RevisionFacts
    evidence: str | None
    search_rows: list[dict[str, Any]]
    job_seconds: float
    teaching: dict[str, Any]
    race: RaceReport | None
    adjusted: tuple[AdjustmentReport, ...] = ()


class PausedRaceFacts(RaceReport):
    """What is saved while a race goes on."""

    stage: StageName
    dataset: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ResumeFile:
    """A resume file that was read.

    Attributes:
        state: its tensors and facts, as a trainer takes them.
        facts: of the job.
    """

    state: State
    facts: JobFacts | PausedRaceFacts

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file.

        Raises:
            CheckpointError: it is missing, damaged, or not a resume file.
        """
        state = train.read(path)
        kind = PausedRaceFacts if state.facts.get("stage") == StageName.RACE else JobFacts
        try:
            return cls(state=state, facts=kind.model_validate(state.facts))
        except ValidationError as error:
            where = "/".join(map(str, error.errors()[0]["loc"]))
            raise CheckpointError(
                f"{path.name} is not a resume file of this version of npas ({where}: "
                f"{error.errors()[0]['msg']}); start the run anew"
            ) from error

    @property
    def stage(self) -> StageName:
        """What was trained when it was saved."""
        return self.facts.stage

    @property
    def job(self) -> JobFacts:
        """What it says of a job whose race is over, or that has none."""
        assert isinstance(self.facts, JobFacts)
        return self.facts

    @property
    def race(self) -> RaceReport | None:
        """What it says of the race, under way or over; None where there was none."""
        return self.facts.race if isinstance(self.facts, JobFacts) else self.facts

    @property
    def seconds(self) -> float:
        """What the job took until then."""
        return self.facts.job_seconds if isinstance(self.facts, JobFacts) else self.facts.seconds

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """By name."""
        return self.state.tensors

    def check(self, context: RunContext) -> None:
        """Check that it is of a job, whose race, if it has one, is over.

        Raises:
            CheckpointError: it is of another request.
            DataError: images or labels are others now.
        """
        if self.job.request != identity.request_digest(context.spec, context.evidence):
            raise another_request()
        self.check_dataset(context)

    def check_dataset(self, context: RunContext) -> None:
        """Check that the dataset is what it was.

        Raises:
            DataError: images or labels are others now.
        """
        if self.facts.dataset != context.dataset.fingerprint:
            raise DataError(
                f"dataset {context.dataset.name} is not what this run started with: put it back, "
                "or start the run anew",
                field="/dataset",
            )


def another_request() -> CheckpointError:
    """Return the refusal of a file that is of another job."""
    return CheckpointError("the resume file is of another request; start the run anew")


def save(state: State, context: RunContext, step: int) -> None:
    """Write a resume file and tell the listener of it.

    Args:
        state: all of it.
        context: says where.
        step: optimiser steps of the job so far.
    """
    path = train.write(state, context.folder / "state", step)
    context.listener.checkpoint(path, step)
