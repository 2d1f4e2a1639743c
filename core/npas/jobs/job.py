"""One job from its race to its files: a teacher, a search, the training, the delivery."""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from npas.delivery.deliver import Result, TrainingResult, deliver
from npas.errors import TimeLimitError
from npas.jobs.beginning import beginning, is_fitted
from npas.jobs.clock import Clock
from npas.jobs.context import RunContext, StageName
from npas.jobs.questions import question
from npas.jobs.race import race
from npas.jobs.record import Record, opened
from npas.jobs.resume import ResumeFile
from npas.jobs.revisions import shared_model
from npas.jobs.stages import STAGES
from npas.jobs.start import Start, is_joining
from npas.plans import Plan
from npas.train import Command, Trainer
from npas.train.evaluate import evaluate


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
        TimeLimitError: the request's time was over before an epoch of the training was finished.
    """
    if context.going_on is not None:
        accepted = context.going_on
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
    if record.is_truncated and not (trainer.stage == StageName.TRAIN and trainer.rows):
        raise TimeLimitError(
            f"time_limit is {context.spec.time_limit:g} s, which was over before the first epoch "
            "of the training was finished: raise it, or train a smaller network",
            field="/time_limit",
        )
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
    held_out = _held_out(context, trainer)
    result = Result(
        spec=context.spec,
        plan=record.plan,
        dataset=context.dataset,
        inputs=context.graded_inputs,
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
        distillation=record.teaching.report(images_at_once=context.adjustments.images_at_once),
        race=record.race,
        truncated=record.is_truncated,
        adjusted=record.adjusted,
        images_at_once=context.adjustments.images_at_once,
        held_out=held_out,
        question=question(context, record, trainer, held_out),
        start=_start(context, record),
        squares=trainer.rounding.squares() if trainer.rounding else {},
    )
    report, files = deliver(shared_model(trainer), result, context.folder)
    context.listener.progress(1.0, 0.0)
    return Outcome(
        finished=True, stopped_early=stopped_early, plan=record.plan, report=report, files=files
    )


def _held_out(context: RunContext, trainer: Trainer) -> tuple[Tensor, Tensor]:
    """Return images that none of the networks was ever trained on, and their labels.

    The networks of a start may have been trained on what is held out now, unless the dataset
    itself says what that is.
    """
    images, labels = trainer.batches.validation
    is_known = context.start is None or context.dataset.x_validation is not None
    return (images, labels) if is_known else (images[:0], labels[:0])


def _start(context: RunContext, record: Record) -> dict[str, Any] | None:
    """Return the report's part on what the training began with; None of random weights.

    The network is made once more: its plan, file and seed are known, and nothing must be kept.
    """
    if context.start is None:
        return None
    plan = record.revisions.trained_first
    begun = beginning(context, plan)
    found = {
        "checkpoint": context.start.sha256,
        "is_continued": context.is_continued,
        "accuracy": _graded(context, begun),
    }
    if is_fitted(context, plan):
        found["aligned_blocks"] = begun.origin.aligned
        model = copy.deepcopy(context.start.model).to(context.device)
        found["source_accuracy"] = _graded(context, model)
    return {
        **found,
        **({"joined": _joined(context.start, plan, context)} if is_joining(context.spec) else {}),
    }


def _graded(context: RunContext, model: nn.Module) -> float:
    """Return the score of networks on the test images."""
    return evaluate(
        model,
        context.dataset.x_test,
        context.dataset.y_test,
        inputs=context.graded_inputs,
        device=context.device,
    ).score


def _joined(start: Start, plan: Plan, context: RunContext) -> dict[str, Any]:
    """Return what the networks that joined those of a start have added to them."""
    own = start.model.plan
    parameters = plan.ledger.total - own.ledger.total
    dense = plan.ledger.dense - own.ledger.dense
    assert context.spec.start is not None
    return {
        "networks": [network.name for network in plan.networks[len(own.networks) :]],
        "is_frozen": context.spec.start.frozen,
        "parameters": parameters,
        "dense_parameters": dense,
        "share": parameters / dense,
        "checkpoint_bytes": start.bytes,
    }
