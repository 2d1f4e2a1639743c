"""What a job is thought to take, and how wrong that was.

Seconds count from the moment a worker takes the job to its end, as if it were never lost.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Self

from npas.jobs.workload import StageWork, Workload
from sqlalchemy.orm import Session

from npas_store import measurements
from npas_store.learning import INTERVAL, Model, Prediction, Sample
from npas_store.tables import Measurement

Facts = Mapping[str, Any]

FORMAT = 1
"""Of the facts of a measurement; those of another release are not read."""

LEAST_STEPS = 10
"""Optimiser steps from which on a training says how fast its kind is."""

_NO_WORKER = "no worker has been here yet: start one, and it measures how fast it is"
_LEAST_START = 0.1  # seconds


class Machine:
    """What is known of one machine."""

    def __init__(self, name: str, rows: Sequence[Measurement]) -> None:
        """Learn.

        Args:
            name: as measurements name it.
            rows: measured on it, the newest first.
        """
        self.name = name
        readable = [row for row in rows if row.facts.get("format") == FORMAT]
        facts = [{**row.facts, "kind": row.kind} for row in readable]
        speeds = [sample for each in facts for sample in _speeds(each)]
        self._speed = Model(speeds) if speeds else None
        memories = [sample for each in facts for sample in _memories(each)]
        self._memory = Model(memories) if memories else None
        starts = [start for each in facts for start in self._start(each)]
        self._starts = Model(starts) if starts else None

    def seconds(self, work: Workload) -> tuple[Prediction, Prediction] | None:
        """Return the seconds of start and end, and of what is computed; None: not known."""
        if self._speed is None or self._starts is None:
            return None
        computing = self._speed.predict(work.kind, work.family, parts_of(work.stages))
        start = self._starts.predict(work.kind, work.family, (1.0,))
        return None if computing is None or start is None else (start, computing)

    def memory(self, work: Workload) -> float | None:
        """Return the bytes of memory at the peak; None: not known."""
        if self._memory is None:
            return None
        found = self._memory.predict(work.kind, work.family, (1.0, work.memory_bytes))
        return None if found is None else found.amount

    def _start(self, facts: Facts) -> list[Sample]:
        """Return the seconds that a whole claim took beside its training and its grading."""
        if facts.get("whole_seconds") is None:
            return []
        seconds = facts["whole_seconds"] - facts.get("seconds", 0.0)
        graded = facts.get("graded")
        if graded and self._speed:
            found = self._speed.predict(facts["kind"], facts["family"], graded)
            seconds -= found.amount if found else 0.0
        return [_sample(facts, (1.0,), max(_LEAST_START, seconds))]


class Knowledge:
    """What is known of the machines of all workers that are there."""

    def __init__(self, machines: Sequence[Machine]) -> None:
        """Take it."""
        self._machines = machines

    @classmethod
    def read(cls, session: Session) -> Self:
        """Read what was measured, in one query."""
        names, rows = measurements.of_workers(session)
        by_machine: dict[str, list[Measurement]] = defaultdict(list)
        for row in rows:
            by_machine[row.machine].append(row)
        return cls([Machine(name, by_machine[name]) for name in names])

    def estimate(self, work: Workload) -> dict[str, Any]:
        """Return what a job is thought to take, as JSON; unknown seconds are None, with a reason.

        Where workers are on several machines, the interval holds those of all of them.
        """
        found = [(each, said) for each in self._machines if (said := each.seconds(work))]
        memory = [peak for each in self._machines if (peak := each.memory(work))]
        told = {
            "seconds": None,
            "seconds_low": None,
            "seconds_high": None,
            "interval": INTERVAL,
            "memory_bytes": round(max(memory)) if memory else work.memory_bytes,
            "file_bytes": work.file_bytes,
            "resume_bytes": work.resume_bytes,
            "disk_bytes": work.disk_bytes,
            "steps": work.steps,
            "macs": work.macs,
            "based_on": None,
            "reason": None if found else _NO_WORKER,
            "work": work.as_json(),
        }
        return told | (_seconds(found) if found else {})


def _seconds(found: Sequence[tuple[Machine, tuple[Prediction, Prediction]]]) -> dict[str, Any]:
    parts = [said for _, said in found]
    amounts = [sum(part.amount for part in each) for each in parts]
    slowest = max(range(len(found)), key=amounts.__getitem__)
    computing = parts[slowest][1]
    return {
        "seconds": round(median(amounts), 3),
        "seconds_low": round(min(sum(p.amount / p.factor for p in each) for each in parts), 3),
        "seconds_high": round(max(sum(p.amount * p.factor for p in each) for each in parts), 3),
        "based_on": {
            "machine": found[slowest][0].name,
            "basis": computing.basis,
            "measurements": computing.samples,
        },
    }


def error(
    estimate: Facts | None,
    *,
    seconds: float | None,
    memory_bytes: int | None,
    file_bytes: int | None,
) -> dict[str, Any] | None:
    """Return how wrong an estimate was, as JSON; None where there was none.

    Args:
        estimate: from `Knowledge.estimate`.
        seconds: that workers held the job; None where it did not do all of its work.
        memory_bytes: at the peak.
        file_bytes: of the model file.
    """
    if estimate is None:
        return None
    known = file_bytes is not None and estimate.get("file_bytes") is not None
    return {
        "seconds": None if seconds is None else round(seconds, 3),
        "seconds_ratio": _ratio(seconds, estimate.get("seconds")),
        "is_in_interval": _is_within(seconds, estimate),
        "memory_bytes": memory_bytes,
        "memory_ratio": _ratio(memory_bytes, estimate.get("memory_bytes")),
        "file_bytes_difference": file_bytes - estimate["file_bytes"] if known else None,
    }


def _ratio(measured: float | None, thought: float | None) -> float | None:
    return round(measured / thought, 4) if measured is not None and thought else None


def _is_within(seconds: float | None, estimate: Facts) -> bool | None:
    if seconds is None or estimate.get("seconds") is None:
        return None
    return bool(estimate["seconds_low"] <= seconds <= estimate["seconds_high"])


def parts_of(stages: Sequence[StageWork]) -> list[int]:
    """Return what is paid for in seconds: operations, multiply-adds and bytes of all stages."""
    return [
        sum(each.operations for each in stages),
        sum(each.macs for each in stages),
        sum(each.kept_bytes for each in stages),
    ]


def _speeds(facts: Facts) -> list[Sample]:
    """Return how fast a training was; of a probe, each of its loops."""
    if facts["kind"] == measurements.PROBE:
        return [_sample(facts, each["parts"], each["seconds"]) for each in facts["loops"]]
    if facts["steps"] < LEAST_STEPS:
        return []
    return [_sample(facts, facts["parts"], facts["seconds"])]


def _memories(facts: Facts) -> list[Sample]:
    if not facts.get("memory_bytes"):
        return []
    least = facts.get("least_memory_bytes", 0)
    return [_sample(facts, (1.0, least), facts["memory_bytes"])]


def _sample(facts: Facts, parts: Sequence[float], amount: float) -> Sample:
    is_probe = facts["kind"] == measurements.PROBE
    return Sample(
        kind="" if is_probe else facts["kind"],
        family=facts.get("family", ""),
        parts=tuple(map(float, parts)),
        amount=float(amount),
    )
