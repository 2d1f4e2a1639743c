"""Makes one record of `benchmarks.joining`, going on where it was paused."""

import functools
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import npas
import torch
from npas.data import Dataset
from npas.ensembles.predictions import Predictions
from npas.errors import InfeasibleBudgetError, NonFiniteLossError
from npas.jobs import devices
from npas.sharing.model import SharedModel
from npas.train.evaluate import members
from torch import Tensor

from benchmarks.ensembles.by_jobs import Delivered, delivered
from benchmarks.ensembles.grading import scores_of
from benchmarks.ensembles.images import Labelled, loaded
from benchmarks.ensembles.trained import asked_apart
from benchmarks.joins.arms import ARMS, JOINING, Cell, dense_size, job, joining_job, share
from benchmarks.joins.settings import JoinSetting
from benchmarks.peers.fitting import num_parameters
from benchmarks.pool import each_made
from benchmarks.runs import Place, write

Record = dict[str, Any]
_IMAGES_AT_ONCE = 500


def make_record(setting: JoinSetting, place: Place, cell: Cell, stopping: Any) -> Record | None:
    """Make a cell's record and store it; None: paused.

    The file of a pair is kept, for those that join it.

    Raises:
        RuntimeError: the outputs of networks that were to stay as they were have changed.
    """
    torch.set_num_threads(place.threads)
    content = _about(setting, cell, place)
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
    if ARMS[cell.arm].kind != "pair":
        shutil.rmtree(place.work / setting.name / cell.name, ignore_errors=True)
    return content


def _about(setting: JoinSetting, cell: Cell, place: Place) -> Record:
    return {
        "arm": cell.arm,
        "seed": cell.seed,
        "share": share(setting, place.data),
        "third_dense": dense_size(setting, [setting.third], place.data),
        "threads": place.threads,
        "device": devices.model_name(devices.device(place.device)),
        "versions": {"npas": npas.__version__, "torch": torch.__version__},
    }


def _made(setting: JoinSetting, cell: Cell, place: Place, stopping: Any) -> Record | None:
    folder, kind = place.work / setting.name, ARMS[cell.arm].kind
    if kind not in JOINING:
        request = job(setting, cell, place.data)
        made = delivered(request, folder / cell.name, place, stopping)
        return None if made is None else _graded(setting, made, place)
    first = job(setting, cell.pair, place.data)
    pair = delivered(first, folder / cell.pair.name, place, stopping)
    if pair is None:
        return None
    file = folder / cell.pair.name / "model.safetensors"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    request = joining_job(setting, cell, pair.model.plan, digest, place.data)
    made = delivered(request, folder / cell.name, place, stopping, start=file)
    if made is None:
        return None
    if kind != "unfrozen":
        check_unchanged(pair.model, made.model, loaded(setting.dataset, place.data))
    about = json.loads((folder / cell.name / "report.json").read_text())["start"]["joined"]
    return _graded(setting, made, place) | {"added": about, "pair_seconds": pair.seconds}


def check_unchanged(before: SharedModel, after: SharedModel, dataset: Dataset) -> None:
    """Make sure that networks say what they said, on every test image, bit for bit.

    Args:
        before: the networks that were there.
        after: has them and others.
        dataset: whose test images they are asked for.

    Raises:
        RuntimeError: one does not.
    """
    size = before.plan.networks[0].architecture.input_size
    inputs = dataset.inputs(input_size=size)
    for images in torch.split(dataset.x_test, _IMAGES_AT_ONCE):
        old, new = (
            _logits(each, inputs(images), before.network_names) for each in (before, after)
        )
        changed = [name for name in old if not torch.equal(old[name], new[name])]
        if changed:
            raise RuntimeError(f"a network joined, and {', '.join(changed)} changed")


def _logits(model: SharedModel, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    model.eval()
    with torch.inference_mode():
        return members(model, x, names)


def _graded(setting: JoinSetting, made: Delivered, place: Place) -> Record:
    dataset, model = loaded(setting.dataset, place.data), made.model
    names, third = model.network_names, setting.third.name
    inputs = dataset.inputs(input_size=setting.third.architecture.input_size)
    ask = asked_apart(model.materialise(), inputs=inputs, device=devices.device(place.device))
    said: Predictions = ask(Labelled(images=dataset.x_test, labels=dataset.y_test))
    alone = {name: scores_of(said, [name]) for name in names}
    return {
        "status": "done",
        "alone": alone,
        "third": alone.get(third),
        "together": scores_of(said, names) if len(names) > 1 else None,
        "parameters": num_parameters(model),
        "test_images": len(dataset.y_test),
        "dataset_fingerprint": dataset.fingerprint,
        "cpu_seconds": round(made.seconds, 2),
        "curve": made.rows,
    }


def made_records(
    setting: JoinSetting, wanted: Sequence[Cell], place: Place, jobs: int
) -> Iterator[tuple[Cell, Record]]:
    """Make records in so many processes, pairs before what joins them; see `each_made`."""
    work = functools.partial(make_record, setting, place)
    pairs = [cell for cell in wanted if ARMS[cell.arm].kind == "pair"]
    yield from each_made(work, pairs, jobs)
    yield from each_made(work, [cell for cell in wanted if cell not in pairs], jobs)


def without_record(wanted: Sequence[Cell], store: Path) -> list[Cell]:
    """Return the cells that no record is stored of."""
    return [cell for cell in wanted if not (store / f"{cell.name}.json").exists()]
