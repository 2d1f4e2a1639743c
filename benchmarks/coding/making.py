"""Makes one record of `benchmarks.coded`, going on where it was paused."""

import shutil
import time
from typing import Any

import npas
import torch
from npas.errors import NonFiniteLossError
from npas.jobs import devices
from npas.run import run
from npas.train import saved

from benchmarks.coding.settings import Cell, CodingSetting
from benchmarks.runs import Ear, Place, write

Record = dict[str, Any]
_SECONDS_BETWEEN_SAVES = 120


def make_record(setting: CodingSetting, place: Place, cell: Cell, stopping: Any) -> Record | None:
    """Make a cell's record and store it; None: paused."""
    torch.set_num_threads(place.threads)
    folder = place.work / setting.name / cell.name
    content: Record = {
        "arm": cell.arm,
        "budget_bytes": cell.budget_bytes,
        "seed": cell.seed,
        "threads": place.threads,
        "device": devices.model_name(devices.device(place.device)),
        "versions": {"npas": npas.__version__, "torch": torch.__version__},
    }
    states, ear, started = saved(folder / "state"), Ear(stopping), time.process_time()
    try:
        outcome = run(
            setting.job(cell),
            folder=folder,
            data_folder=place.data,
            listener=ear,
            resume_from=states[0] if states else None,
            device=place.device,
            checkpoint_seconds=_SECONDS_BETWEEN_SAVES,
        )
    except NonFiniteLossError as error:
        content |= {"status": "diverged", "message": str(error)}
    else:
        if not outcome.finished:
            return None
        content |= _found(outcome.report)
        content["curve"] = [row for _, row in sorted(ear.rows.items())]
        content["process_seconds"] = round(time.process_time() - started, 1)
    write(place.store / f"{cell.name}.json", content)
    shutil.rmtree(folder, ignore_errors=True)
    return content


def _found(report: Record) -> Record:
    coding = report["coding"]
    kept = ("accuracy", "nll", "parameters", "dense_parameters", "file_bytes", "test_images")
    said = ("bits", "expected_bits", "accuracy_before_rounding", "why_less", "stream_bytes")
    return {
        "status": "done",
        **{name: report[name] for name in kept},
        **{name: coding[name] for name in said},
        "dataset_fingerprint": report["dataset_fingerprint"],
    }
