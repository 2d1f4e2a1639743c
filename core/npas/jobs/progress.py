"""How far a job is, and how long the rest takes: stage follows stage, all with steps alike."""

import time
from collections.abc import Mapping

from npas.jobs.context import StageName
from npas.train import Trainer


class Progress:
    """Counts optimiser steps over all stages of a job; measures their time in the present one."""

    def __init__(self, trainer: Trainer, epochs: Mapping[StageName, int]) -> None:
        """Start the clock.

        Args:
            trainer: of the present stage.
            epochs: of every stage by name, in their order.
        """
        self._trainer, self._first_step = trainer, trainer.step
        self._started = time.monotonic()
        stages = list(epochs)
        before = stages[: stages.index(StageName(trainer.stage))]
        self._before = sum(epochs[stage] for stage in before) * trainer.steps_per_epoch
        self._total = sum(epochs.values()) * trainer.steps_per_epoch

    @property
    def step(self) -> int:
        """Optimiser steps done in the whole job."""
        return self._before + self._trainer.step

    def at(self, now: float) -> tuple[float, float | None]:
        """Return the share of all steps that is done, and seconds for the rest at this pace.

        Args:
            now: of `time.monotonic`.
        """
        here = self._trainer.step - self._first_step
        seconds = (now - self._started) / here if here else None
        left = None if seconds is None else seconds * (self._total - self.step)
        return 0.99 * self.step / self._total, left
