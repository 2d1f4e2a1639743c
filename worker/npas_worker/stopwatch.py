"""How long a claim's epochs took, and what they computed: what the next estimates learn from."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from npas.jobs.context import StageName
from npas.jobs.workload import EVALUATION, Workload
from npas_store.estimates import FORMAT, parts_of

_RACED = "raced"
"""The event of a short training in a race, which tells no epochs."""


class Stopwatch:
    """Of one claim. Epochs that a resume file brought along are not counted."""

    def __init__(self) -> None:
        """Have nothing measured."""
        self._steps: Counter[str] = Counter()
        self._seconds: dict[str, float] = defaultdict(float)
        self._is_begun = self._is_resumed = False

    def resumed(self) -> None:
        """Hear that the claim goes on from a file: its first epoch was begun before."""
        self._is_resumed = True

    def stepping(self) -> None:
        """Hear that a step is about to be made: what comes now is of this claim."""
        self._is_begun = True

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Hear of an epoch, the fields of `npas.train.Row`."""
        if not self._is_begun:
            return
        if self._is_resumed and not self._steps:
            self._is_resumed = False
            return
        self._add(row["stage"], row["step"] // row["epoch"], row["seconds"])

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Hear of an event; those of a race are trainings."""
        if kind == _RACED:
            self._add(StageName.RACE, data["steps"], data["seconds"])

    def _add(self, stage: str, steps: int, seconds: float) -> None:
        self._steps[stage] += steps
        self._seconds[stage] += seconds

    def measured(self, work: Workload) -> dict[str, Any]:
        """Return the steps and seconds that were measured, and what was computed in them.

        Args:
            work: of the job.
        """
        parts = [0.0, 0.0, 0.0]
        for stage in work.stages:
            done = self._steps[stage.stage] / stage.steps if stage.steps else 0.0
            parts = [p + done * whole for p, whole in zip(parts, parts_of([stage]), strict=True)]
        return {
            "format": FORMAT,
            "family": work.family,
            "steps": self._steps.total(),
            "seconds": round(sum(self._seconds.values()), 6),
            "parts": [round(part) for part in parts],
            "stages": {
                stage: {"steps": steps, "seconds": round(self._seconds[stage], 6)}
                for stage, steps in self._steps.items()
            },
            "graded": parts_of([each for each in work.stages if each.stage == EVALUATION]),
            "least_memory_bytes": work.memory_bytes,
        }
