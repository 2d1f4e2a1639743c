"""The trainer of each stage, and how long it trains."""

from collections.abc import Mapping

from torch import nn

from npas.delivery.coded.coder import Coder
from npas.errors import PlanError
from npas.folding.penalty import recurrence_penalty
from npas.jobs.beginning import beginning
from npas.jobs.context import RunContext, StageName
from npas.jobs.distillation import SideBySide
from npas.jobs.promise import outdated
from npas.jobs.record import Record
from npas.sharing import build
from npas.spec import TrainingSpec
from npas.train import Trainer
from npas.train.objective import Penalty
from npas.train.rounding import Rounding
from npas.train.teacher import Teacher


def search_epochs(context: RunContext) -> int:
    """Return the epochs of the search; none where evidence is given, or a plan is trained on."""
    if context.evidence is not None or context.is_continued:
        return 0
    problem = context.problem
    return problem.method.search_epochs(problem.options, epochs=context.spec.training.epochs)


def stage_epochs(context: RunContext, record: Record) -> Mapping[StageName, int]:
    """Return the epochs of every stage of a job."""
    return {
        StageName.RACE: int(record.race["epochs"]) if record.race else 0,
        StageName.TEACH: record.teaching.epochs,
        StageName.SEARCH: search_epochs(context),
        StageName.TRAIN: context.spec.training.epochs,
    }


def teacher_model(context: RunContext) -> SideBySide:
    """Return the networks of the job without sharing, fresh."""
    networks = build.networks(context.problem.networks, seed=context.spec.seed)
    return SideBySide(networks).to(context.device)


def teacher_trainer(context: RunContext, model: nn.Module) -> Trainer:
    """Return the trainer of the teacher: as asked, without a teacher of its own."""
    alone = context.spec.training.model_copy(update={"distillation": None})
    return _trainer(context, model, alone, StageName.TEACH)


def search_trainer(context: RunContext, record: Record) -> Trainer:
    """Return the trainer of the search: brief, with the full learning rate throughout.

    Nothing is averaged: it is measured on the weights that gradients are of.
    """
    changes = {
        "epochs": search_epochs(context),
        "schedule": "step",
        "milestones": (),
        "average": None,
    }
    brief = context.spec.training.model_copy(update=changes)
    return _shared(context, record, brief, StageName.SEARCH)


def trainer(context: RunContext, record: Record) -> Trainer:
    """Return the trainer of the plan in force, as asked; its weights are rounded as the file's."""
    training, asked = context.spec.training, record.plan.file
    rounding = None
    if asked is not None and asked.step > 0:
        rounding = Rounding(Coder(record.plan, asked.bytes), epochs=training.epochs)
    return _shared(context, record, training, StageName.TRAIN, rounding)


def _shared(
    context: RunContext,
    record: Record,
    training: TrainingSpec,
    stage: StageName,
    rounding: Rounding | None = None,
) -> Trainer:
    try:
        model = beginning(context, record.plan)
    except PlanError as error:
        raise outdated(error) from error
    return _trainer(
        context,
        model,
        training,
        stage,
        penalty=recurrence_penalty(record.plan),
        teacher=record.teaching.teacher,
        rounding=rounding,
    )


def _trainer(
    context: RunContext,
    model: nn.Module,
    training: TrainingSpec,
    stage: StageName,
    *,
    penalty: Penalty | None = None,
    teacher: Teacher | None = None,
    rounding: Rounding | None = None,
) -> Trainer:
    return Trainer(
        model,
        context.dataset,
        training,
        inputs=context.inputs,
        seed=context.spec.seed,
        stage=stage,
        device=context.device,
        penalty=penalty,
        teacher=teacher,
        adjustments=context.adjustments,
        rounding=rounding,
    )
