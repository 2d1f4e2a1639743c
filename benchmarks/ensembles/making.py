"""Makes one record of `benchmarks.ensemble`, going on where it was paused."""

import functools
import shutil
import time
from collections.abc import Iterator, Sequence
from typing import Any

import npas
import npas.data
import torch
from npas.errors import NonFiniteLossError
from npas.jobs import devices

from benchmarks.ensembles.anytime import anytime_of
from benchmarks.ensembles.arms import ARMS, Cell, budget
from benchmarks.ensembles.by_jobs import trained_by_jobs
from benchmarks.ensembles.by_trainer import trained_by_trainer
from benchmarks.ensembles.grading import graded, graded_corrupted
from benchmarks.ensembles.images import corrupted, held_out, loaded, tested
from benchmarks.ensembles.kept import Kept
from benchmarks.ensembles.settings import Setting
from benchmarks.ensembles.trained import Trained
from benchmarks.pool import each_made
from benchmarks.runs import Place, write

Record = dict[str, Any]


def make_cell(setting: Setting, place: Place, cell: Cell, stopping: Any) -> Record | None:
    """Make a cell's record and store it; None: paused."""
    torch.set_num_threads(place.threads)
    folder = place.work / setting.name / cell.name
    train = trained_by_trainer if ARMS[cell.arm].kind == "peer" else trained_by_jobs
    content = about(setting, cell, place)
    try:
        trained = train(setting, cell, folder, place, stopping)
    except NonFiniteLossError as error:
        content |= {"status": "diverged", "message": str(error)}
    else:
        if trained is None:
            return None
        content |= {"status": "done"} | _graded(setting, cell, place, trained)
    write(place.store / f"{cell.name}.json", content)
    shutil.rmtree(folder, ignore_errors=True)
    return content


def about(setting: Setting, cell: Cell, place: Place) -> Record:
    """Return what a record says before anything is trained."""
    configuration = setting.configurations[cell.configuration]
    facts = npas.data.facts(setting.dataset, place.data)
    return {
        "configuration": cell.configuration,
        "arm": cell.arm,
        "seed": cell.seed,
        "budget": budget(configuration, facts),
        "threads": place.threads,
        "device": devices.model_name(devices.device(place.device)),
        "versions": {"npas": npas.__version__, "torch": torch.__version__},
    }


def _graded(setting: Setting, cell: Cell, place: Place, trained: Trained) -> Record:
    """Ask for all images, keep what was said, and return all scores and costs."""
    started = time.process_time()
    own, test = (trained.ask(f(setting, place.data)) for f in (held_out, tested))
    kept = Kept(held_out=own, test=test, macs=dict(trained.macs))
    kept.write(place.work / setting.name / "predictions" / f"{cell.name}.npz")
    cache = place.work / setting.name / "corrupted"
    found = graded(trained, own, test)
    found["corrupted"] = graded_corrupted(trained, test, corrupted(setting, place.data, cache))
    found["anytime"] = anytime_of(kept, is_cascade=trained.cost == "most")
    return found | {
        "dataset_fingerprint": loaded(setting.dataset, place.data).fingerprint,
        "parameters": trained.parameters,
        "train_macs": trained.train_macs,
        "cpu_seconds": round(trained.seconds, 2),
        "grading_seconds": round(time.process_time() - started, 1),
        "curve": list(trained.rows),
    }


def missing_cells(cells: Sequence[Cell], place: Place) -> list[Cell]:
    """Return the cells without a record."""
    return [cell for cell in cells if not (place.store / f"{cell.name}.json").exists()]


def made_cells(
    setting: Setting, cells: Sequence[Cell], place: Place, jobs: int
) -> Iterator[tuple[Cell, Record]]:
    """Make records in so many processes and yield each as it is stored; see `each_made`."""
    return each_made(functools.partial(make_cell, setting, place), cells, jobs)
