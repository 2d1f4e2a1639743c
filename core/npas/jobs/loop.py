"""Advances one trainer of a job, tells how it goes, and writes resume files when they are due."""

import time
from dataclasses import asdict

from npas.jobs import resume
from npas.jobs.context import RunContext, StageName
from npas.jobs.progress import Progress
from npas.jobs.record import Record
from npas.jobs.resume import ResumeFile
from npas.jobs.revisions import shared_model
from npas.jobs.trainers import stage_epochs
from npas.train import Command, Row, Trainer


class TrainingLoop:
    """Of one stage of one job.

    Attributes:
        trainer: that it advances.
    """

    def __init__(
        self, context: RunContext, record: Record, trainer: Trainer, resumed: ResumeFile | None
    ) -> None:
        """Go to where the stage was, and tell the epochs that are done.

        Args:
            context: of the job.
            record: of the job, saved with the trainer.
            trainer: with fresh weights.
            resumed: of this stage; None: at its start.
        """
        self._context, self._record, self.trainer = context, record, trainer
        if resumed is not None:
            trainer.restore(resumed.state)
        for row in trainer.rows:
            context.listener.metrics(asdict(row))
        self._progress = Progress(trainer, stage_epochs(context, record))

    def advance(self, until: int | None = None) -> Command:
        """Train on; see `npas.train.Trainer.train`.

        Args:
            until: optimiser steps of this stage to stop after; None: all.
        """
        return self.trainer.train(
            after_step=self._after_step, after_epoch=self._after_epoch, until=until
        )

    def save(self) -> None:
        """Write a resume file."""
        state = self._record.state(self._context, self.trainer)
        resume.save(state, self._context, self._progress.step)
        self._record.clock.saved()

    def _after_step(self) -> Command:
        clock, listener = self._record.clock, self._context.listener
        if clock.is_time_to_tell():
            listener.progress(*self._progress.at(time.monotonic()))
        command = listener.command()
        if command is Command.CONTINUE and self._context.is_time_over():
            self._record.is_truncated = True
            command = Command.FINISH
        is_to_go_on = command is Command.PAUSE or self._record.is_truncated
        if is_to_go_on or clock.is_time_to_save(at_an_end=False):
            self.save()
        return command

    def _after_epoch(self, row: Row) -> None:
        self._context.listener.metrics(asdict(row))
        if row.stage == StageName.TRAIN:
            self._record.history.record(shared_model(self.trainer), row.epoch)
        if self._record.clock.is_time_to_save(at_an_end=True):
            self.save()
