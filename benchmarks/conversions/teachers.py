"""Trains the networks that `benchmarks.conversion` brings into budgets: one for each seed."""

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from npas.spec import BudgetSpec, JobSpec, MethodSpec

from benchmarks.conversions.settings import ConversionSetting
from benchmarks.ensembles.by_jobs import delivered
from benchmarks.pool import each_made
from benchmarks.runs import Place, write

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Teacher:
    """One network to be trained in full."""

    seed: int

    @property
    def name(self) -> str:
        """The stem of its record, and its folder."""
        return f"teacher-{self.seed}"


def teacher_job(setting: ConversionSetting, seed: int) -> JobSpec:
    """Return the request of the network that is trained in full."""
    return JobSpec.model_validate(
        {
            "architecture": setting.architecture,
            "budget": BudgetSpec(fraction=1),
            "method": MethodSpec(name="dense"),
            "dataset": setting.dataset,
            "training": setting.training,
            "seed": seed,
            "corrupted_images": 0,
        }
    )


def teacher_folder(setting: ConversionSetting, seed: int, place: Place) -> Path:
    """Return where the files of a trained network are."""
    return place.work / setting.name / Teacher(seed).name


def make_teacher(
    setting: ConversionSetting, place: Place, teacher: Teacher, stopping: Any
) -> Record | None:
    """Train the network of a seed and store its record; None: paused. Its file is kept."""
    torch.set_num_threads(place.threads)
    folder = teacher_folder(setting, teacher.seed, place)
    made = delivered(teacher_job(setting, teacher.seed), folder, place, stopping)
    if made is None:
        return None
    report = json.loads((folder / "report.json").read_text())
    record = {
        "arm": "teacher",
        "seed": teacher.seed,
        "status": "done",
        "accuracy": report["accuracy"],
        "parameters": report["parameters"],
        "test_images": report["test_images"],
        "dataset_fingerprint": report["dataset_fingerprint"],
        "epochs": made.epochs,
        "curve": made.rows,
        "cpu_seconds": round(made.seconds, 1),
        "device": report["device"],
        "versions": report["versions"],
    }
    write(place.store / f"{teacher.name}.json", record)
    return record


def made_teachers(
    setting: ConversionSetting, wanted: Sequence[Teacher], place: Place, jobs: int
) -> Iterator[tuple[Teacher, Record]]:
    """Train networks in so many processes; see `each_made`."""
    return each_made(functools.partial(make_teacher, setting, place), wanted, jobs)
