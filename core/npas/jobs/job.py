"""One job from its race to its files: a teacher, a search, the training, the delivery."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from npas.delivery.deliver import Result, TrainingResult, deliver
from npas.jobs.clock import Clock
from npas.jobs.context import RunContext, StageName
from npas.jobs.race import race
from npas.jobs.record import Record, opened
from npas.jobs.resume import ResumeFile
from npas.jobs.revisions import shared_model
from npas.jobs.stages import STAGES
from npas.plans import Plan
from npas.train import Command, Trainer


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        finished: False after a pause; then there are no files, but a resume file.
        plan: of the delivered network; after a pause, the one in force.
        stopped_early: whether FINISH ended it before all epochs.
        report: plain JSON, see `npas.delivery.report.Report`; empty after a pause.
        files: by name: model.safetensors, and those of `npas.artifacts`.
    """

    finished: bool
    plan: Plan
    stopped_early: bool = False
    report: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)


def work(context: RunContext, *, accepted: Plan | None, resume: ResumeFile | None) -> Outcome:
    """Go through the stages of a job, from its start or from a resume file.

    Args:
        context: of the job.
        accepted: the plan that it was accepted with; None: it is planned now.
        resume: where to go on; None: at the start.

    Raises:
        NpasError: the request, its data, the plan or the resume file cannot be used.
    """
    raced = race(context, resume, accepted=accepted)
    if raced.command is Command.PAUSE:
        assert raced.plan is not None
        return Outcome(finished=False, plan=raced.plan)
    clock = Clock(checkpoint_seconds=context.checkpoint_seconds)
    if raced.report is not None:
        clock.seconds_before = float(raced.report["seconds"])
    context, record = opened(
        raced.context,
        promised=raced.plan or accepted,
        race=raced.report,
        resume=raced.resume,
        clock=clock,
    )
    command, trainer = _train(context, record, raced.resume)
    if command is Command.PAUSE:
        return Outcome(finished=False, plan=record.plan)
    return _deliver(context, record, trainer, stopped_early=command is Command.FINISH)


def _train(
    context: RunContext, record: Record, resume: ResumeFile | None
) -> tuple[Command, Trainer]:
    """Go through the stages that the job has, as far as the listener lets it."""
    command, trainer = Command.CONTINUE, None
    order = list(StageName)
    for stage in (each for each in STAGES if each.is_wanted(context, record)):
        if resume is not None and order.index(resume.stage) > order.index(stage.name):
            stage.skip(context, record, resume)
            continue
        command, trainer = stage.run(context, record, resume)
        if command is not Command.CONTINUE:
            break
        resume = None
    assert trainer is not None
    return command, trainer


def _deliver(
    context: RunContext, record: Record, trainer: Trainer, *, stopped_early: bool
) -> Outcome:
    """Put the weights to deliver into the network, grade it, and write all files."""
    context.listener.phase("evaluating")
    best_epoch, accuracy = trainer.load_best()
    is_search = trainer.stage == StageName.SEARCH
    search_rows = tuple(trainer.rows if is_search else record.search_rows)
    rows = () if is_search else tuple(trainer.rows)
    result = Result(
        spec=context.spec,
        plan=record.plan,
        dataset=context.dataset,
        inputs=context.inputs,
        device=context.device,
        training=TrainingResult(
            search_rows=search_rows,
            rows=rows,
            history=record.history,
            best_epoch=best_epoch,
            validation_accuracy=accuracy,
            stopped_early=stopped_early,
            seconds=record.clock.seconds,
        ),
        plans=record.revisions.plans,
        costs=record.revisions.report(search_rows, rows),
        distillation=record.teaching.report(),
        race=record.race,
    )
    report, files = deliver(shared_model(trainer), result, context.folder)
    context.listener.progress(1.0, 0.0)
    return Outcome(
        finished=True, stopped_early=stopped_early, plan=record.plan, report=report, files=files
    )
