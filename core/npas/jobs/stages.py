"""What is trained in a job after its race, stage by stage; each goes on where it was paused."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Protocol

from npas.jobs import trainers
from npas.jobs.context import RunContext, StageName
from npas.jobs.loop import TrainingLoop
from npas.jobs.record import Record
from npas.jobs.resume import ResumeFile
from npas.jobs.revisions import Version, shared_model
from npas.planning.planner import solve
from npas.train import Command, Trainer


class Stage(Protocol):
    """One stage; `run` leaves in the record what later ones need."""

    name: StageName

    def is_wanted(self, context: RunContext, record: Record) -> bool:
        """Return whether the job has this stage."""

    def skip(self, context: RunContext, record: Record, resume: ResumeFile) -> None:
        """Take what it came to from the resume file of a later stage."""

    def run(
        self, context: RunContext, record: Record, resume: ResumeFile | None
    ) -> tuple[Command, Trainer]:
        """Train.

        Args:
            context: of the job.
            record: of the job.
            resume: of this stage; None: at its start.

        Returns:
            CONTINUE at the end, else what the listener said; and what holds the network.
        """


class Teach:
    """Trains the same networks without sharing, which the job's network then learns from."""

    name = StageName.TEACH

    def is_wanted(self, context: RunContext, record: Record) -> bool:
        """Return whether a teacher is trained in the job."""
        del context
        return record.teaching.epochs > 0

    def skip(self, context: RunContext, record: Record, resume: ResumeFile) -> None:
        """Take the teacher from the file."""
        for row in record.teaching.restore(trainers.teacher_model(context), resume):
            context.listener.metrics(asdict(row))

    def run(
        self, context: RunContext, record: Record, resume: ResumeFile | None
    ) -> tuple[Command, Trainer]:
        """Train the teacher."""
        trainer = trainers.teacher_trainer(context, trainers.teacher_model(context))
        loop = TrainingLoop(context, record, trainer, resume)
        context.listener.phase("teaching")
        command = loop.advance()
        if command is Command.FINISH:  # delivered as it is: there was no time to learn
            return command, trainers.trainer(context, record)
        if command is Command.CONTINUE:
            record.teaching.take(trainer)
            epochs = len(trainer.rows)
            context.listener.event(
                "taught", f"epochs of the teacher: {epochs}", {"epochs": epochs}
            )
        return command, trainer


class Search:
    """Trains a plan that shares little, or much, briefly; measures, and plans again."""

    name = StageName.SEARCH

    def is_wanted(self, context: RunContext, record: Record) -> bool:
        """Return whether the method wants to measure something first."""
        del record
        return trainers.search_epochs(context) > 0

    def skip(self, context: RunContext, record: Record, resume: ResumeFile) -> None:
        """Do nothing: plans and evidence are in the record already."""

    def run(
        self, context: RunContext, record: Record, resume: ResumeFile | None
    ) -> tuple[Command, Trainer]:
        """Train briefly, measure, and plan again."""
        if resume is None:
            tied = solve(context.problem, stage="search")
            record.adopt(context, Version.SEARCHING, tied)
        loop = TrainingLoop(context, record, trainers.search_trainer(context, record), resume)
        context.listener.phase("searching")
        if record.teaching.epochs and resume is None:
            loop.save()  # the teacher is not trained again
        command, trainer = loop.advance(), loop.trainer
        if command is not Command.CONTINUE:
            return command, trainer
        record.evidence = record.revisions.measured(trainer)
        record.search_rows = trainer.rows
        found = solve(context.problem, evidence=record.evidence)
        record.adopt(context, Version.SEARCHED, found)
        context.listener.event(
            "searched",
            f"epochs of search: {len(trainer.rows)}; groups that share: {len(found.groups)}",
            {"epochs": len(trainer.rows), "groups": len(found.groups)},
        )
        return command, trainer


class Train:
    """Trains the plan in force from fresh weights; its method may refine it on the way."""

    name = StageName.TRAIN

    def is_wanted(self, context: RunContext, record: Record) -> bool:
        """Return True."""
        del context, record
        return True

    def skip(self, context: RunContext, record: Record, resume: ResumeFile) -> None:
        """Do nothing: there is no later stage."""

    def run(
        self, context: RunContext, record: Record, resume: ResumeFile | None
    ) -> tuple[Command, Trainer]:
        """Train as asked."""
        loop = TrainingLoop(context, record, trainers.trainer(context, record), resume)
        trainer = loop.trainer
        context.listener.phase("training")
        if resume is None:
            record.history.record(shared_model(trainer), 0)
            if trainers.search_epochs(context) or record.teaching.epochs:
                loop.save()  # what came before is not done again
        until = record.revisions.step_of_refinement(trainer)
        if until is not None:
            command = loop.advance(until)
            if command is not Command.CONTINUE:
                return command, trainer
            _refine(context, record, trainer)
        return loop.advance(), trainer


def _refine(context: RunContext, record: Record, trainer: Trainer) -> None:
    """Change the plan in the midst of the training; nothing jumps."""
    record.adopt(context, Version.REFINED, record.revisions.refined(trainer))
    told = record.revisions.refinement or {}
    context.listener.event(
        "refined",
        f"after epoch {told['epoch']}; rows of coefficients: {told['rows_before']} before, "
        f"{told['rows_after']} now",
        {"epoch": told["epoch"], "rows": told["rows_after"]},
    )


STAGES: Sequence[Stage] = (Teach(), Search(), Train())
"""In their order; a later one has a later place in `StageName`."""
