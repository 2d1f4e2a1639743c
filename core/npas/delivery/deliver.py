"""The end of a run: the trained network as one file, graded after it is read back; a report."""

import hashlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from npas import artifacts
from npas.data import Dataset, ImportReport, Inputs, sampled
from npas.delivery import checkpoint
from npas.delivery.explaining import Question, explained
from npas.delivery.report import Report
from npas.delivery.saving import Saving
from npas.delivery.together import Examiner, num_corrupted
from npas.ensembles.ladder import LADDER, Ladder, by_cost
from npas.errors import CheckpointError
from npas.folding.fold import fold
from npas.folding.loops import Looped
from npas.folding.similarity import History
from npas.methods import planned_by
from npas.plans import Plan
from npas.sharing.model import SharedModel
from npas.spec import JobSpec
from npas.train import Row
from npas.train.confusion import confusion
from npas.train.evaluate import Evaluation, evaluate
from npas.train.recalibration import recalibrate

MEASURED = 0.1234567890123456
"""Stands for a number that is measured: most are written in so many digits."""

RECALIBRATION_IMAGES, RECALIBRATION_BATCH = 10_000, 100
"""How many training images a folded network's statistics are measured with, and how many at once;
a batch that is not full is left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingResult:
    """What the training came to.

    Attributes:
        search_rows: epochs of the search stage.
        rows: epochs of the training.
        history: how alike layers were in them.
        best_epoch: whose weights are delivered, 0 if no epoch was finished.
        validation_accuracy: of that epoch.
        stopped_early: whether epochs are missing.
        seconds: of the whole run, pauses left out.
    """

    search_rows: tuple[Row, ...]
    rows: tuple[Row, ...]
    history: History
    best_epoch: int
    validation_accuracy: float | None
    stopped_early: bool
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What is known of a run when its training ends.

    Attributes:
        spec: the job.
        plan: of the model.
        dataset: its test split is used here, for the first and only time.
        inputs: what the model reads.
        device: where to evaluate.
        training: what it came to.
        plans: all plans of the run, by version.
        costs: what they were and what it took to find them, as fields of the report.
        distillation: what there is to say of the teacher; None without one.
        race: how the method was chosen; None where it was given.
        truncated: whether the request's time limit ended it.
        adjusted: what was done otherwise than asked, as fields of the report.
        images_at_once: for grading.
        held_out: images and labels that nothing was trained on, both empty where there are none.
        question: what is to be found out of the allocation.
        start: what the training began with; None of random weights.
        squares: mean squared gradients of the parameters, where a file is rounded.
    """

    spec: JobSpec
    plan: Plan
    dataset: Dataset
    inputs: Inputs
    device: torch.device
    training: TrainingResult
    plans: Mapping[int, Plan]
    costs: Mapping[str, Any]
    distillation: dict[str, Any] | None
    race: Mapping[str, Any] | None
    truncated: bool
    adjusted: Sequence[Mapping[str, Any]]
    images_at_once: int
    held_out: tuple[torch.Tensor, torch.Tensor]
    question: Question
    start: Mapping[str, Any] | None = None
    squares: Mapping[str, float] = field(default_factory=dict)


def deliver(
    model: SharedModel, result: Result, folder: Path
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Write all files of a finished run.

    The model file holds nothing but what follows from request and data: no times, no paths.

    Args:
        model: with the weights to deliver.
        result: all the rest.
        folder: for the files.

    Returns:
        the report, plain JSON, and the files by name.
    """
    path = folder / "model.safetensors"
    graded, loaded, coding = _save_and_grade(model, result, path)
    content = _report(result, graded, path) | coding | _of_networks(loaded, result)
    content["folding"], folded = _folding(loaded, graded, result, folder)
    content["allocation"] = explained(loaded, result.question).model_dump(mode="json")
    report = Report.model_validate(content).model_dump(mode="json", exclude_unset=True)
    rows = (*result.training.search_rows, *result.training.rows)
    account = artifacts.Account(
        plan=result.plan,
        rows=rows,
        report=report,
        history=result.training.history,
        plans=result.plans,
    )
    texts = artifacts.texts(account)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return report, {name: folder / name for name in (path.name, *folded, *texts)}


def _folding(
    model: SharedModel, graded: Evaluation, result: Result, folder: Path
) -> tuple[dict[str, Any] | None, list[str]]:
    """Deliver the folded network too where the plan asks for it, graded as a file and as loops.

    Where the fold is not exact, the statistics of its normalisations are measured anew.
    """
    method, options = planned_by(result.plan)
    threshold = method.fold_at(options)
    if threshold is None:
        return None, []
    folded = fold(model, threshold)
    as_folded = _grade(folded.model, result).score
    if not folded.is_exact:
        recalibrate(folded.model, _batches(result))
    path = folder / "folded.safetensors"
    as_if_unmeasured = replace(result, squares={})  # those are of other banks of the same names
    again, delivered, _ = _save_and_grade(folded.model, as_if_unmeasured, path)
    looped = Looped(delivered)
    return {
        "threshold": threshold,
        "ledger": delivered.plan.ledger.model_dump(),
        "parameters": delivered.plan.ledger.total,
        "parameters_before": model.plan.ledger.total,
        "accuracy": again.score,
        "accuracy_change": again.score - graded.score,
        "accuracy_before_recalibration": None if folded.is_exact else as_folded,
        "accuracy_as_loops": _grade(looped, result).score,
        "groups": [asdict(group) for group in folded.groups],
        "loops": [asdict(place) for place in looped.places()],
        "file_bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }, [path.name]


def _batches(result: Result) -> Iterator[torch.Tensor]:
    """Yield inputs to measure statistics with."""
    chosen = sampled(
        result.dataset.x_train, RECALIBRATION_IMAGES, RECALIBRATION_BATCH, seed=result.spec.seed
    )
    for images in chosen:
        yield result.inputs(images.to(result.device))


def _save_and_grade(
    model: SharedModel, result: Result, path: Path
) -> tuple[Evaluation, SharedModel, dict[str, Any]]:
    """Save, read back, grade what was read, and save that with its grade beside it.

    Returns:
        the grade; what was delivered; what there is to say of its bytes, as fields of the report.
    """
    about: dict[str, Any] = {
        "dataset": result.dataset.name,
        "dataset_fingerprint": result.dataset.fingerprint,
        "mean": result.inputs.mean,
        "std": result.inputs.std,
        "input_size": result.inputs.input_size,
        "seed": result.spec.seed,
    }
    if result.dataset.class_names:
        about["class_names"] = result.dataset.class_names
    saving = Saving(result.plan.file, result.squares)
    is_saved = False
    while not is_saved:
        saving.first(model, path, about | _standing_in(result))
        loaded = _load(path, result.device)
        graded = _grade(loaded, result)
        found: dict[str, Any] = {"accuracy": graded.score}
        if (examiner := _examiner(loaded, result)) is not None:
            found[LADDER] = examiner.ladder(*result.held_out).model_dump(mode="json")
        is_saved = saving.again(loaded, path, about | found)
    delivered = _load(path, result.device)
    for name, tensor in delivered.state_dict().items():
        if not torch.equal(tensor, loaded.state_dict()[name]):
            raise CheckpointError(f"{path.name} does not hold {name} as it was graded")
    before = _grade(model, result).score if saving.fitted else None
    return graded, delivered, saving.report(path, before)


def _standing_in(result: Result) -> dict[str, Any]:
    """Return what is not known of a file before its grade; only a budget in bytes asks for it."""
    if result.plan.file is None:
        return {}
    names = [network.name for network in result.plan.networks]
    ladder = {LADDER: by_cost(dict.fromkeys(names, 0)).model_dump(mode="json")}
    is_answered = len(names) > 1 and result.dataset.task == "classes"
    return {"accuracy": MEASURED} | (ladder if is_answered else {})


def _load(path: Path, device: torch.device) -> SharedModel:
    loaded = checkpoint.load(path, device=str(device))
    assert isinstance(loaded, SharedModel)
    return loaded


def _grade(model: torch.nn.Module, result: Result) -> Evaluation:
    return evaluate(
        model,
        result.dataset.x_test,
        result.dataset.y_test,
        inputs=result.inputs,
        batch_size=result.images_at_once,
        device=result.device,
    )


def _examiner(model: SharedModel, result: Result) -> Examiner | None:
    """Return what grades several networks that answer together; None where there is nothing to."""
    if len(result.plan.networks) == 1 or result.dataset.task != "classes":
        return None
    return Examiner(
        plan=model.plan,
        networks=model.materialise(),
        inputs=result.inputs,
        device=result.device,
        images_at_once=result.images_at_once,
    )


def _of_networks(model: SharedModel, result: Result) -> dict[str, Any]:
    """Grade each network of several by itself, and all subsets; a lone one is graded already."""
    examiner = _examiner(model, result)
    if examiner is None:
        plain = model.materialise() if len(result.plan.networks) > 1 else {}
        scores = {name: _grade(network, result).score for name, network in plain.items()}
        return {"networks": _networks(result.plan, scores)}
    ensemble = examiner.report(
        Ladder.model_validate(model.extra[LADDER]),
        result.dataset.x_test,
        result.dataset.y_test,
        held_out=len(result.held_out[0]),
        corrupt=num_corrupted(
            result.spec.corrupted_images,
            result.spec.training,
            result.dataset.facts(),
        ),
    )
    alone = [each for each in ensemble["subsets"] if len(each["networks"]) == 1]
    scores = {each["networks"][0]: each["accuracy"] for each in alone}
    return {"networks": _networks(result.plan, scores), "ensemble": ensemble}


def _networks(plan: Plan, scores: Mapping[str, float]) -> list[dict[str, Any]]:
    return [
        {
            "name": network.name,
            "architecture": network.architecture.name,
            "accuracy": scores.get(network.name),
        }
        for network in plan.networks
    ]


def _report(result: Result, graded: Evaluation, path: Path) -> dict[str, Any]:
    plan, spec, content = result.plan, result.spec, path.read_bytes()
    return {
        "architecture": " + ".join(n.architecture.name for n in plan.networks),
        "method": plan.method,
        "dataset": result.dataset.name,
        "dataset_fingerprint": result.dataset.fingerprint,
        "dense_parameters": plan.dense,
        "budget_parameters": plan.ledger.budget,
        "parameters": plan.ledger.total,
        "minimum_parameters": plan.minimum,
        "groups": len(plan.groups),
        **_graded(graded),
        **_told_apart(graded, result.dataset),
        **_imported(result.dataset),
        "validation_accuracy": result.training.validation_accuracy,
        "best_epoch": result.training.best_epoch,
        "epochs": spec.training.epochs,
        "epochs_done": len(result.training.rows),
        "stopped_early": result.training.stopped_early,
        "seconds": round(result.training.seconds, 3),
        **result.costs,
        "distillation": result.distillation,
        "race": result.race,
        **_start(result.start, len(content)),
        "seed": spec.seed,
        "device": result.device.type,
        "file_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "versions": _versions(),
        **({"test_size": spec.training.test_size} if spec.training.test_size else {}),
        **({"truncated": True} if result.truncated else {}),
        **({"adjustments": result.adjusted} if result.adjusted else {}),
    }


def _start(start: Mapping[str, Any] | None, file_bytes: int) -> dict[str, Any]:
    """Return the field about the start; of networks that joined, with the bytes they added."""
    if start is None or "joined" not in start:
        return {"start": start} if start else {}
    joined = start["joined"]
    added = file_bytes - joined["checkpoint_bytes"]
    return {"start": {**start, "joined": {**joined, "file_bytes": added}}}


def _graded(found: Evaluation) -> dict[str, Any]:
    """Return the fields of a grade; "accuracy" is the lone number, "metric" says of what."""
    of_cells = {"f1": found.score, "precision": found.precision, "recall": found.recall}
    return {
        "accuracy": found.score,
        "metric": found.metric,
        "top5": found.top5,
        **(of_cells if found.metric == "f1" else {}),
        "nll": found.nll,
        "ece": found.ece,
        "test_images": found.images,
    }


def _told_apart(graded: Evaluation, dataset: Dataset) -> dict[str, Any]:
    """Return the fields about single classes; none where the answer is for each cell."""
    if graded.said is None:
        return {}
    found = confusion(dataset.y_test, graded.said, dataset.num_classes)
    names = dataset.class_names or tuple(map(str, range(dataset.num_classes)))
    pairs = [
        {"right": names[right], "said": names[said], "images": images}
        for right, said, images in found.pairs
    ]
    return {
        "macro_f1": found.macro_f1,
        "confusion": {"classes": names, "counts": found.counts, "most_confused": pairs},
    }


def _imported(dataset: Dataset) -> dict[str, Any]:
    """Return what there is to say of how images became those of the dataset."""
    if dataset.origin is None:
        return {}
    found = ImportReport.model_validate(dataset.origin)
    return {
        "dataset_import": {
            "rule": found.rule,
            "splits": found.splits,
            "num_skipped": found.num_skipped,
            "leaks": found.duplicates.leaks,
            "dropped": found.duplicates.dropped,
            "warnings": found.warnings,
        }
    }


def _versions() -> Mapping[str, str]:
    return {
        "npas": version("npas"),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }
