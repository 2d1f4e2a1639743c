"""Makes the runs of `benchmarks.methods` and stores each as one small JSON file."""

import functools
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from npas.errors import InfeasibleBudgetError, NonFiniteLossError, NpasError
from npas.jobs.context import prepared
from npas.jobs.listener import NullListener
from npas.jobs.race import race
from npas.jobs.resume import ResumeFile
from npas.run import run
from npas.train import Command, saved

from benchmarks.arms import ARMS, Cell, Setting, dense_size, first_plan, job, plan_digest
from benchmarks.evidence import KINDS
from benchmarks.pool import each_made
from benchmarks.regrouping import measured, mutated

Record = dict[str, Any]

_KEPT = (
    "accuracy", "nll", "ece", "parameters", "groups", "seconds", "epochs_done", "device",
    "test_images", "dataset_fingerprint", "versions",
)  # fmt: skip
_CURVE = ("stage", "epoch", "train_loss", "train_accuracy", "seconds")
_SECONDS_BETWEEN_SAVES = 120
_EVIDENCE = {**KINDS, "regrouped": measured, "mutated": mutated}


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where things are, and what computes.

    Attributes:
        store: folder of this setting's records, committed.
        work: folder of runs in progress, thrown away.
        data: data folder; None: the library's default.
        device: as for `npas.run.run`.
        threads: of one run on a CPU.
    """

    store: Path
    work: Path
    data: Path | None
    device: str
    threads: int

    def file(self, cell: Cell) -> Path:
        """Return where a cell's record belongs."""
        return self.store / f"{cell.name}.json"


class Ear(NullListener):
    """Pauses the run when the event is set, and keeps the epochs."""

    def __init__(self, stopping: Any) -> None:
        """Listen to an event of threading or multiprocessing."""
        self.stopping = stopping
        self.rows: dict[tuple[str, int], Record] = {}

    def metrics(self, row: Any) -> None:
        """Keep an epoch; a resumed run tells those before the pause again."""
        self.rows[row["stage"], row["epoch"]] = {key: row[key] for key in _CURVE}

    def command(self) -> Command:
        """Say whether to pause."""
        return Command.PAUSE if self.stopping.is_set() else Command.CONTINUE


def write(path: Path, content: Record) -> None:
    """Put a record on disk: a reader sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    unfinished.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    unfinished.replace(path)


def _about(setting: Setting, cell: Cell, data: Path | None) -> Record:
    arm = ARMS[cell.arm]
    changes = {**arm.training, **({"rate": arm.rate} if arm.rate != 1 else {})}
    return {
        "arm": cell.arm,
        "fraction": cell.budget,
        "seed": cell.seed,
        "method": job(setting, cell, data).method.model_dump(mode="json"),
        **({"training": changes} if changes else {}),
    }


def missing(setting: Setting, cells: Sequence[Cell], place: Place) -> tuple[list[Cell], list[str]]:
    """Return the cells to be run, and what is to be said about others.

    Infeasible cells are recorded here: that costs milliseconds, so they are looked at each time,
    and run once their method goes low enough. A record whose plan the code makes no more is
    told, and kept.
    """
    wanted: list[Cell] = []
    notes: dict[str, int] = {}
    for cell in cells:
        path = place.file(cell)
        old = json.loads(path.read_text()) if path.exists() else {"status": ""}
        try:
            plan = first_plan(setting, cell, place.data)
        except InfeasibleBudgetError as error:
            facts = {"minimum": error.minimum, "budget": error.budget}
            facts["dense"] = dense_size(setting, place.data)
            write(path, _about(setting, cell, place.data) | facts | {"status": "infeasible"})
            continue
        except NpasError as error:
            note = f"{cell.arm} cannot be run: {error}"
            notes[note] = notes.get(note, 0) + 1
            continue
        if old["status"] not in ("done", "diverged", "raced"):
            wanted.append(cell)
        elif old["plan"] != plan_digest(plan):
            note = f"{cell.arm}: stored runs are of plans that this code does not make any more"
            notes[note] = notes.get(note, 0) + 1
    return wanted, [f"{note} ({count} runs)" for note, count in notes.items()]


def make(setting: Setting, cell: Cell, place: Place, stopping: Any) -> Record | None:
    """Make one run, going on where it was paused, and store its record; None: paused again."""
    torch.set_num_threads(place.threads)
    folder = place.work / setting.name / cell.name
    ear, started = Ear(stopping), time.process_time()
    plan = first_plan(setting, cell, place.data)
    facts = {
        "plan": plan_digest(plan),
        "minimum": plan.minimum,
        "dense": dense_size(setting, place.data),
    }
    content = _about(setting, cell, place.data) | facts | {"budget": plan.ledger.budget}
    work = _raced if ARMS[cell.arm].is_race else _trained
    try:
        found = work(setting, cell, place, ear, folder)
    except NonFiniteLossError as error:
        found = {"status": "diverged", "message": str(error)}
    if found is None:
        return None
    content |= found | {"threads": place.threads}
    content["cpu_seconds"] = round(time.process_time() - started, 1)
    write(place.file(cell), content)
    shutil.rmtree(folder, ignore_errors=True)
    return content


def _trained(setting: Setting, cell: Cell, place: Place, ear: Ear, folder: Path) -> Record | None:
    states, kind = saved(folder / "state"), ARMS[cell.arm].evidence
    outcome = run(
        job(setting, cell, place.data),
        folder=folder,
        listener=ear,
        data_folder=place.data,
        resume_from=states[0] if states else None,
        device=place.device,
        checkpoint_seconds=_SECONDS_BETWEEN_SAVES,
        evidence=_EVIDENCE[kind](setting, cell, place.data) if kind else None,
    )
    if not outcome.finished:
        return None
    rows = list(ear.rows.values())
    searched = sum(row["seconds"] for row in rows if row["stage"] == "search")
    kept = {key: outcome.report[key] for key in _KEPT}
    facts = {"search_seconds": searched, "curve": rows, "resumed": bool(states)}
    return {"status": "done"} | kept | facts


def _raced(setting: Setting, cell: Cell, place: Place, ear: Ear, folder: Path) -> Record | None:
    """Race only: what a job does after its race is the winner's run, to the byte."""
    spec, states = job(setting, cell, place.data), saved(folder / "state")
    context = prepared(
        spec,
        evidence=None,
        folder=folder,
        data_folder=place.data,
        device=torch.device(place.device),
        checkpoint_seconds=_SECONDS_BETWEEN_SAVES,
        listener=ear,
    )
    raced = race(context, ResumeFile.read(states[0]) if states else None, accepted=None)
    if raced.command is not Command.CONTINUE or raced.report is None:
        return None
    return {"status": "raced", "race": raced.report, "seconds": raced.report["seconds"]}


def made(
    setting: Setting, cells: Sequence[Cell], place: Place, jobs: int
) -> Iterator[tuple[Cell, Record]]:
    """Make runs in so many processes and yield each as it is stored; see `each_made`."""
    return each_made(functools.partial(_made, setting, place), cells, jobs)


def _made(setting: Setting, place: Place, cell: Cell, stopping: Any) -> Record | None:
    return make(setting, cell, place, stopping)
