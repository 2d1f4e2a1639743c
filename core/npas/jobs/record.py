"""What one job has come to so far: with a trainer's state, all that a resume file holds."""

import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from npas import methods
from npas.errors import NpasError
from npas.folding.similarity import History
from npas.jobs import identity
from npas.jobs.clock import Clock
from npas.jobs.context import RunContext
from npas.jobs.continuation import TRAINED
from npas.jobs.distillation import Teaching
from npas.jobs.promise import check_promise, outdated
from npas.jobs.resume import ResumeFile
from npas.jobs.revisions import Revisions, Version
from npas.jobs.start import is_joining
from npas.planning.planner import solve
from npas.planning.problem import PlanningProblem
from npas.plans import Plan
from npas.plans.evidence import Evidence
from npas.train import UNCHANGED, Adjustments, Row, State, Trainer

_START = "start"
"""Where what is adjusted begins, of a job that begins with it."""


class Record:
    """Of one job after its race.

    Attributes:
        revisions: all its plans.
        teaching: its teacher.
        evidence: given, or measured; None before there is some.
        search_rows: epochs of the search.
        history: how alike layers were while it trained.
        race: the race's report; None where there was none.
        clock: its time.
        adjusted: what was done otherwise than asked, and since when; plain JSON for the report.
        is_truncated: whether the request's time limit ended it.
    """

    def __init__(
        self,
        context: RunContext,
        revisions: Revisions,
        *,
        race: Mapping[str, Any] | None,
        clock: Clock,
    ) -> None:
        """Begin with nothing found, not even a plan; see `opened`.

        Args:
            context: of the job.
            revisions: without plans.
            race: the race's report; None where there was none.
            clock: of the job.

        Raises:
            DataError: the teacher's file is missing or does not fit.
        """
        self.revisions, self.race, self.clock = revisions, race, clock
        self.teaching = Teaching(
            context.spec.training,
            context.dataset,
            inputs=context.inputs,
            folder=context.data_folder,
            device=context.device,
            start=context.start,
        )
        self.evidence: Evidence | None = context.evidence
        self.search_rows: list[Row] = []
        self.history = History()
        self.adjusted: list[dict[str, Any]] = []
        self.is_truncated = False

    @property
    def plan(self) -> Plan:
        """The plan in force."""
        return self.revisions.current

    def adjust(self, adjustments: Adjustments, resume: ResumeFile | None) -> None:
        """Note what is done otherwise than asked, if it is not what was done before.

        Args:
            adjustments: in force from now on.
            resume: where the job goes on; None: at its start.
        """
        before = [each.model_dump(mode="json") for each in resume.job.adjusted] if resume else []
        now = {**asdict(adjustments), "changes": list(adjustments.explained())}
        stage, step = (resume.stage, resume.state.facts["step"]) if resume else (_START, 0)
        latest = before[-1] if before else {**asdict(UNCHANGED), "changes": []}
        is_same = all(latest[name] == value for name, value in now.items())
        self.adjusted = before if is_same else [*before, {"stage": stage, "step": step, **now}]

    def adopt(self, context: RunContext, version: Version, plan: Plan) -> None:
        """Put a plan in force, and tell it."""
        self.revisions.plans[version] = plan
        context.listener.plan(version + context.first_version, plan)

    def state(self, context: RunContext, trainer: Trainer) -> State:
        """Return all that a resume file holds."""
        state = trainer.state()
        facts = {
            **state.facts,
            "request": identity.request_digest(context.spec, context.evidence),
            "dataset": context.dataset.fingerprint,
            "revisions": self.revisions.facts(),
            "evidence": self.evidence.to_json() if self.evidence else None,
            "search_rows": [asdict(row) for row in self.search_rows],
            "job_seconds": self.clock.seconds,
            "teaching": self.teaching.facts(),
            "race": self.race,
            "adjusted": self.adjusted,
        }
        tensors = {**state.tensors, **self.teaching.tensors(), **self.history.tensors()}
        return State(tensors=tensors, facts=facts)

    def restore(self, context: RunContext, resume: ResumeFile) -> None:
        """Go back to what a resume file holds, but for the teacher's weights; tell the plans."""
        job = resume.job
        for version, plan in self.revisions.restore(job.revisions):
            self.adopt(context, version, plan)
        self.search_rows = [Row.of(row) for row in job.search_rows]
        if job.evidence:
            self.evidence = Evidence.from_json(job.evidence)
        self.history.restore(self.plan, resume.tensors)


def opened(
    context: RunContext,
    *,
    promised: Plan | None,
    race: Mapping[str, Any] | None,
    resume: ResumeFile | None,
    clock: Clock,
) -> tuple[RunContext, Record]:
    """Begin the record of a job: its first plan is in force, and told.

    Args:
        context: of the job.
        promised: the plan that it was accepted with, or that won its race; None: it is made now.
        race: the race's report; None where there was none.
        resume: where it goes on; None: at its start.
        clock: of the job.

    Returns:
        the context, in which a promised plan's method has the name that it has today; the record.

    Raises:
        NpasError: the request, its data, the promised plan or the resume file cannot be used.
    """
    if resume is not None:
        resume.check(context)
        promised = resume.job.revisions.first
    problem = _problem(context, promised)
    context = context.planning(problem)
    epochs = context.spec.training.epochs
    is_on = context.is_continued
    revisions = Revisions(problem.method, problem.options, epochs=epochs, is_final=is_on)
    record = Record(context, revisions, race=race, clock=clock)
    record.adjust(context.adjustments, resume)
    if resume is not None:
        record.teaching.check(resume)
        clock.seconds_before = resume.job.job_seconds
    elif promised is not None and race is None and not is_joining(context.spec):
        stages = TRAINED if is_on else ("train",)
        check_promise(promised, context.spec, problem, stages=stages)
    record.adopt(context, Version.REQUESTED, promised or solve(problem))
    if resume is not None:  # who goes on has been told
        record.restore(context, resume)
        return context, record
    if is_joining(context.spec) and context.spec.method.name != record.plan.method:
        told = f"networks join by the method of the file, {record.plan.method}"
        context.listener.event("idle_option", f"{told}; {context.spec.method.name} has no say", {})
    _tell_idle_options(context, record.plan, is_new=promised is None)
    if context.evidence is not None:
        given = solve(problem, evidence=context.evidence)
        record.adopt(context, Version.SEARCHING, given)
    return context, record


def _problem(context: RunContext, promised: Plan | None) -> PlanningProblem:
    """Return the problem under the method that made the promised plan, by its name of today."""
    if promised is None:
        return context.problem.under(context.spec.method)
    try:
        return context.problem.under(methods.maker_of(promised))
    except NpasError as error:
        raise outdated(error) from error


def _tell_idle_options(context: RunContext, plan: Plan, *, is_new: bool) -> None:
    """Tell of options that do nothing; of a plan that is made now, Python's user is warned too."""
    for idle in methods.idle_options(plan):
        context.listener.event("idle_option", idle, {})
        if is_new:
            warnings.warn(idle, stacklevel=2)
