"""What a job is done with: asked, given, and the same from its start to its end."""

import time
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Self

import torch

from npas import data
from npas.data import Dataset, Inputs
from npas.jobs.continuation import going_on
from npas.jobs.folder import make
from npas.jobs.listener import Listener
from npas.jobs.start import Start, check_sizes, check_teacher, named
from npas.planning.problem import Networks, PlanningProblem
from npas.plans import Plan
from npas.plans.evidence import Evidence
from npas.spec import JobSpec, MethodSpec
from npas.train import UNCHANGED, Adjustments
from npas.train.sizes import check_test_size, graded_inputs


class StageName(StrEnum):
    """The stages in which something is trained, in their order."""

    RACE = "race"
    TEACH = "teacher"
    SEARCH = "search"
    TRAIN = "train"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunContext:
    """What every stage of a job may read.

    Attributes:
        spec: the job; after a race its method is the winner.
        problem: what is planned, of the job and its dataset.
        dataset: in memory.
        evidence: given with the job: then nothing is searched; None: there is none.
        folder: for the files; resume files go to its subfolder "state".
        data_folder: where datasets and teachers are; None: the default one.
        device: where to train.
        checkpoint_seconds: least time between resume files; 0: one after each epoch.
        listener: hears how it goes and may stop it.
        adjustments: what is done otherwise than asked.
        ends_at: of `time.monotonic`: when the request's time is over; None: it has no limit.
        start: whose weights the networks begin with; None: random ones.
        going_on: the plan that is trained on from the start, see
            `npas.jobs.continuation.kept`; None: there is none.
        first_version: of the plans, for the listener: 1 after a race, whose plan is 0; else 0.
    """

    spec: JobSpec
    problem: PlanningProblem
    dataset: Dataset
    evidence: Evidence | None
    folder: Path
    data_folder: Path | None
    device: torch.device
    checkpoint_seconds: float
    listener: Listener
    adjustments: Adjustments
    ends_at: float | None
    start: Start | None = None
    going_on: Plan | None = None
    first_version: int = 0

    @property
    def is_continued(self) -> bool:
        """Tell whether a plan is trained on: then nothing is raced, searched or refined."""
        return self.going_on is not None

    @property
    def inputs(self) -> Inputs:
        """What turns the dataset's images into what the networks read."""
        return self.dataset.inputs(input_size=self.problem.networks[0].architecture.input_size)

    @property
    def graded_inputs(self) -> Inputs:
        """What turns them into what the networks read where they are graded."""
        return graded_inputs(self.spec.training, self.inputs)

    def is_time_over(self) -> bool:
        """Tell whether the request's time limit is reached."""
        return self.ends_at is not None and time.monotonic() >= self.ends_at

    def planning(self, problem: PlanningProblem) -> Self:
        """Return the context with what is planned changed, the networks as they are."""
        return replace(self, problem=problem)

    def raced(self, winner: MethodSpec, networks: Networks) -> Self:
        """Return the context of what follows a race.

        Args:
            winner: the method.
            networks: of the winner's plan; where sizes were raced, they are the job's from now on.
        """
        spec = self.spec.model_copy(update={"method": winner})
        problem = self.problem.under(winner)
        if problem.limits is not None:
            problem = problem.sized(networks)
        return replace(self, spec=spec, problem=problem, first_version=1)


def prepared(
    spec: JobSpec,
    *,
    evidence: Evidence | None,
    folder: Path,
    data_folder: Path | None,
    device: torch.device,
    checkpoint_seconds: float,
    listener: Listener,
    adjustments: Adjustments = UNCHANGED,
    spent_seconds: float = 0.0,
    start: Path | None = None,
    accepted: Plan | None = None,
) -> RunContext:
    """Make the folder, load the dataset and resolve what is to be planned; see `RunContext`.

    Args:
        spent_seconds: of the request's time limit.
        start: the file that `spec.start` names, or is to name.
        accepted: the plan that the job was accepted with; None: it is planned in the job.

    The others are those of `RunContext`.

    Raises:
        NpasError: the request or its data cannot be used.
    """
    limit = spec.time_limit
    ends_at = None if limit is None else time.monotonic() + limit - spent_seconds
    make(folder)
    listener.phase("preparing")
    dataset = data.load(spec.dataset, data_folder)
    problem = PlanningProblem.of(spec, dataset)
    began = None if start is None else Start.read(start, problem.networks)
    spec = named(spec, began)
    check_teacher(spec)
    check_sizes(spec)
    is_on = began is not None and evidence is None
    plan = going_on(began, spec, problem, accepted) if began is not None and is_on else None
    tested = problem.networks if plan is None else plan.networks
    check_test_size(spec.training, tested, dataset.task)
    return RunContext(
        spec=spec,
        problem=problem,
        dataset=dataset,
        evidence=evidence,
        folder=folder,
        data_folder=data_folder,
        device=device,
        checkpoint_seconds=checkpoint_seconds,
        listener=listener,
        adjustments=adjustments,
        ends_at=ends_at,
        start=began,
        going_on=plan,
    )
