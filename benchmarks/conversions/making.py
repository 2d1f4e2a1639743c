"""Makes one record of `benchmarks.conversion`, going on where it was paused."""

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import npas.data
import torch
from npas.errors import InfeasibleBudgetError, NonFiniteLossError

from benchmarks.conversions.arms import ARMS, Cell, job
from benchmarks.conversions.settings import ConversionSetting
from benchmarks.conversions.teachers import Teacher, teacher_folder
from benchmarks.ensembles.by_jobs import delivered
from benchmarks.pool import each_made
from benchmarks.runs import Place, write

Record = dict[str, Any]


def make_record(
    setting: ConversionSetting, place: Place, cell: Cell, stopping: Any
) -> Record | None:
    """Make a cell's record and store it; None: paused."""
    torch.set_num_threads(place.threads)
    content: Record = {"arm": cell.arm, "budget": cell.budget, "seed": cell.seed}
    try:
        found = _made(setting, cell, place, stopping)
    except InfeasibleBudgetError as error:
        found = {"status": "infeasible", "needed": error.minimum}
    except NonFiniteLossError as error:
        found = {"status": "diverged", "message": str(error)}
    if found is None:
        return None
    content |= found
    write(place.store / f"{cell.name}.json", content)
    shutil.rmtree(place.work / setting.name / cell.name, ignore_errors=True)
    return content


def _made(setting: ConversionSetting, cell: Cell, place: Place, stopping: Any) -> Record | None:
    trained = teacher_folder(setting, cell.seed, place) / "model.safetensors"
    teacher = f"{setting.name}-teacher-{cell.seed}"
    digest = hashlib.sha256(trained.read_bytes()).hexdigest()
    request = job(setting, cell, checkpoint=digest, teacher=teacher)
    beside = _beside(setting, place, teacher, trained)
    start = trained if ARMS[cell.arm].fit else None
    folder = place.work / setting.name / cell.name
    made = delivered(request, folder, beside, stopping, start=start)
    if made is None:
        return None
    report = json.loads((folder / "report.json").read_text())
    return {
        "status": "done",
        "accuracy": report["accuracy"],
        "nll": report["nll"],
        "parameters": report["parameters"],
        "file_bytes": report["file_bytes"],
        "epochs": made.epochs,
        "start": report.get("start"),
        "teacher_accuracy": _teacher_accuracy(report),
        "training": request.training.model_dump(mode="json"),
        "test_images": report["test_images"],
        "dataset_fingerprint": report["dataset_fingerprint"],
        "device": report["device"],
        "versions": report["versions"],
        "threads": place.threads,
        "cpu_seconds": round(made.seconds, 1),
        "curve": made.rows,
    }


def _teacher_accuracy(report: Record) -> float | None:
    told = report.get("distillation")
    return None if told is None else told["accuracy"]


def _beside(setting: ConversionSetting, place: Place, teacher: str, trained: Path) -> Place:
    """Return the place with a data folder in which the teacher's file lies, too."""
    source = (place.data or npas.data.default_folder()).resolve()
    folder = place.work / setting.name / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for target, link in (
        *((file, folder / file.name) for file in source.iterdir()),
        (trained.resolve(), folder / f"{teacher}.safetensors"),
    ):
        if not link.exists():
            aside = link.with_name(f".{link.name}.{os.getpid()}")
            aside.symlink_to(target)
            aside.replace(link)
    return Place(
        store=place.store,
        work=place.work,
        data=folder,
        device=place.device,
        threads=place.threads,
    )


def made_records(
    setting: ConversionSetting, wanted: Sequence[Cell], place: Place, jobs: int
) -> Iterator[tuple[Cell, Record]]:
    """Make records in so many processes; see `each_made`."""
    return each_made(functools.partial(make_record, setting, place), wanted, jobs)


def without_record(wanted: Sequence[Cell], place: Place) -> list[Cell]:
    """Return the cells that no record is stored of and whose network is trained."""
    return [
        cell
        for cell in wanted
        if not (place.store / f"{cell.name}.json").exists()
        and (place.store / f"{Teacher(cell.seed).name}.json").exists()
    ]
