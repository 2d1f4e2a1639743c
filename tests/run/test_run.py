import csv
import hashlib
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import npas
import npas.data
import numpy as np
import pytest
import torch
from npas import registry
from npas.errors import CheckpointError, DataError, InvalidSpecError, NonFiniteLossError
from npas.plans.evidence import Evidence, Similarity
from npas.run import run
from npas.spec import JobSpec
from npas.train import saved
from npas.train.evaluate import evaluate

MakeSpec = Callable[..., JobSpec]

FILES = {
    "model.safetensors",
    "plan.json",
    "report.json",
    "metrics.csv",
    "allocation.svg",
    "confusion.svg",
    "curve.svg",
}


def test_run_delivers_a_network_that_fits_and_is_as_good_as_reported(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = make_spec()

    outcome = run(spec, folder=tmp_path, device="cpu")

    report = outcome.report
    assert outcome.finished
    assert not outcome.stopped_early
    kinds = [import_module(f"npas.artifacts.{name}") for name in registry.names("npas.artifacts")]
    assert outcome.files.keys() <= {"model.safetensors", *(kind.ARTIFACT.file for kind in kinds)}
    assert outcome.files.keys() >= FILES
    assert all(path.is_file() for path in outcome.files.values())
    network = npas.load(outcome.files["model.safetensors"])
    parameters = sum(p.numel() for p in network.parameters())
    assert parameters == report["parameters"] <= report["budget_parameters"]
    digits = npas.data.load(spec.dataset)
    extra = network.extra
    inputs = npas.data.Inputs(
        mean=tuple(extra["mean"]), std=tuple(extra["std"]), input_size=extra["input_size"]
    )
    graded = evaluate(network, digits.x_test, digits.y_test, inputs=inputs)
    assert graded.score == report["accuracy"] == extra["accuracy"]
    assert graded.nll == report["nll"]
    assert report["accuracy"] > 0.3  # 135 images, 4 epochs; chance is 0.1
    content = outcome.files["model.safetensors"].read_bytes()
    assert report["sha256"] == hashlib.sha256(content).hexdigest()
    assert extra["dataset_fingerprint"] == digits.fingerprint


def test_files_agree_with_the_outcome(make_spec: MakeSpec, tmp_path: Path) -> None:
    outcome = run(make_spec(), folder=tmp_path, device="cpu")

    assert json.loads(outcome.files["report.json"].read_text()) == outcome.report
    assert npas.Plan.from_json(outcome.files["plan.json"].read_text()) == outcome.plan
    with outcome.files["metrics.csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["stage"], row["epoch"]) for row in rows] == [
        ("search", "1"),
        ("search", "2"),
        *(("train", str(epoch)) for epoch in range(1, 5)),
    ]
    assert outcome.report["search"]["epochs"] == 2
    assert outcome.report["epochs_done"] == 4


def test_run_tells_how_it_goes(make_spec: MakeSpec, make_ear: Any, tmp_path: Path) -> None:
    ear = make_ear()

    run(make_spec(), folder=tmp_path, listener=ear, device="cpu", checkpoint_seconds=0)

    assert ear.phases == ["preparing", "searching", "training", "evaluating"]
    assert sorted(ear.plans) == [0, 1, 2]
    assert ear.plans[0] == npas.plan(make_spec())
    assert ear.plans[1].stage == "search"
    assert len(ear.rows) == 6
    assert ear.fractions[-1] == 1.0
    assert ear.fractions == sorted(ear.fractions)
    steps = [step for _, step in ear.files]
    assert steps == [5, 10, 10, 15, 20, 25, 30]  # each epoch, and the end of the search
    assert len(saved(tmp_path / "state")) == 2


@pytest.mark.parametrize("seed", [0, 1])
def test_model_file_is_the_same_bytes_however_often_the_run_is_paused(
    make_spec: MakeSpec, make_ear: Any, tmp_path: Path, seed: int
) -> None:
    """30 steps: 10 of the search, 20 of the training; pauses fall into both."""
    spec = make_spec(seed=seed)
    whole = run(spec, folder=tmp_path / "whole", device="cpu")
    rows = {}
    resume: Path | None = None

    for attempt, steps in enumerate((3, 4, 2, 1, 11, 5)):
        ear = make_ear("pause", steps)
        paused = run(
            spec,
            folder=tmp_path / f"part{attempt}",
            listener=ear,
            resume_from=resume,
            device="cpu",
        )
        assert not paused.finished
        assert paused.files == {}
        rows |= ear.rows
        resume, _ = ear.files[-1]
    ear = make_ear()
    last = run(spec, folder=tmp_path / "last", listener=ear, resume_from=resume, device="cpu")
    rows |= ear.rows

    for name in ("model.safetensors", "plan.json", "allocation.svg"):
        assert last.files[name].read_bytes() == whole.files[name].read_bytes()
    assert len(rows) == 6
    timeless = [
        {key: value for key, value in outcome.report.items() if key not in ("seconds", "search")}
        for outcome in (whole, last)
    ]
    assert timeless[0] == timeless[1]


def test_run_resumed_after_its_last_step_only_evaluates(
    make_spec: MakeSpec, make_ear: Any, tmp_path: Path
) -> None:
    ear = make_ear()
    whole = run(make_spec(), folder=tmp_path, listener=ear, device="cpu", checkpoint_seconds=0)

    again = run(make_spec(), folder=tmp_path, resume_from=ear.files[-1][0], device="cpu")

    assert again.report["sha256"] == whole.report["sha256"]


def test_finish_delivers_the_best_so_far(
    make_spec: MakeSpec, make_ear: Any, tmp_path: Path
) -> None:
    ear = make_ear("finish", 10 + 12)  # in the third epoch of the training

    outcome = run(make_spec(), folder=tmp_path, listener=ear, device="cpu")

    assert outcome.finished
    assert outcome.stopped_early
    assert outcome.report["epochs_done"] == 2
    best = max(
        (row["validation_accuracy"], epoch) for (s, epoch), row in ear.rows.items() if s == "train"
    )
    assert (outcome.report["validation_accuracy"], outcome.report["best_epoch"]) == best
    kinds = [import_module(f"npas.artifacts.{name}") for name in registry.names("npas.artifacts")]
    assert outcome.files.keys() <= {"model.safetensors", *(kind.ARTIFACT.file for kind in kinds)}
    assert outcome.files.keys() >= FILES


@pytest.mark.parametrize("steps", [0, 7])
def test_finish_in_the_search_delivers_the_searchs_network(
    make_spec: MakeSpec, make_ear: Any, tmp_path: Path, steps: int
) -> None:
    outcome = run(make_spec(), folder=tmp_path, listener=make_ear("finish", steps), device="cpu")

    assert outcome.stopped_early
    assert outcome.plan.stage == "search"
    assert outcome.report["epochs_done"] == 0
    network = npas.load(outcome.files["model.safetensors"])
    assert sum(p.numel() for p in network.parameters()) <= outcome.report["budget_parameters"]


def test_method_without_a_search_trains_at_once(
    make_spec: MakeSpec, make_ear: Any, tmp_path: Path
) -> None:
    ear = make_ear()

    outcome = run(
        make_spec(method="dense", budget={"fraction": 1.0}), folder=tmp_path, listener=ear
    )

    assert ear.phases == ["preparing", "training", "evaluating"]
    assert sorted(ear.plans) == [0]
    assert outcome.report["search"] is None


def test_evidence_that_is_given_replaces_the_search(
    make_spec: MakeSpec, make_ear: Any, tmp_path: Path
) -> None:
    spec = make_spec()
    evidence = _agreement_by_turns(npas.plan(spec))
    ear = make_ear()

    outcome = run(spec, folder=tmp_path, listener=ear, device="cpu", evidence=evidence)

    assert ear.phases == ["preparing", "training", "evaluating"]
    assert outcome.report["search"] is None
    assert outcome.plan == npas.plan(spec, evidence=evidence) != npas.plan(spec)
    paused = run(spec, folder=tmp_path, listener=make_ear("pause", 3), device="cpu")
    assert not paused.finished
    with pytest.raises(CheckpointError, match="another request"):
        run(
            spec,
            folder=tmp_path,
            resume_from=saved(tmp_path / "state")[0],
            device="cpu",
            evidence=evidence,
        )


def _agreement_by_turns(plan: npas.Plan) -> Evidence:
    """Return evidence that every other layer of a kernel size agrees with every other."""
    found = [slot for group in plan.groups for slot in group.slots]
    classes = []
    for kernel in sorted({layer.shape[2:] for layer in (*found, *plan.private)}):
        names = [la.key for la in (*found, *plan.private) if la.shape[2:] == kernel]
        size = range(len(names))
        cosine = tuple(tuple(1.0 if (i + j) % 2 == 0 else -1.0 for j in size) for i in size)
        classes.append(Similarity(layers=tuple(names), cosine=cosine))
    return Evidence(batches=1, classes=tuple(classes))


def test_several_networks_are_graded_together_and_each(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    networks = [{"name": n, "architecture": a} for n, a in (("a", "wrn-10-1"), ("b", "resnet-8"))]

    outcome = run(make_spec(architecture=None, networks=networks), folder=tmp_path)

    assert outcome.report["architecture"] == "wrn-10-1 + resnet-8"
    graded = outcome.report["networks"]
    assert [row["name"] for row in graded] == ["a", "b"]
    assert all(0 < row["accuracy"] <= 1 for row in graded)


def test_networks_that_read_different_sizes_are_refused(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    networks = [
        {"name": "a", "architecture": {"name": "resnet-8"}},
        {"name": "b", "architecture": {"name": "resnet-8", "input_size": 16}},
    ]

    with pytest.raises(InvalidSpecError, match="differ in input_size: a 8, b 16") as caught:
        run(make_spec(architecture=None, networks=networks), folder=tmp_path)

    assert caught.value.field == "/networks"


def test_network_of_another_size_gets_resized_images(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec(architecture={"name": "resnet-8", "input_size": 12})

    outcome = run(spec, folder=tmp_path)

    assert npas.load(outcome.files["model.safetensors"]).extra["input_size"] == 12


def test_own_arrays_are_found_in_the_given_folder(make_spec: MakeSpec, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (40, 8, 8), np.uint8)
    labels = np.arange(40) % 3
    np.savez(tmp_path / "own.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)

    outcome = run(make_spec(dataset="npz:own"), folder=tmp_path / "out", data_folder=tmp_path)

    assert outcome.report["dataset"] == "npz:own"
    assert outcome.plan.networks[0].architecture.num_classes == 3


def test_folders_may_be_strings(make_spec: MakeSpec, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"put mine\.npz"):
        run(make_spec(dataset="npz:mine"), folder=str(tmp_path / "out"), data_folder=str(tmp_path))
    assert (tmp_path / "out").is_dir()


@pytest.mark.parametrize("spec", ["resnet-8", {"architecture": "resnet-8"}, None])
def test_what_is_no_job_is_refused(spec: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpecError, match=r"the job is a .*JobSpec\.model_validate"):
        run(spec, folder=tmp_path)


@pytest.mark.parametrize("device", ["gpu", "cuda:first", ""])
def test_unknown_device_is_refused(make_spec: MakeSpec, tmp_path: Path, device: str) -> None:
    with pytest.raises(InvalidSpecError, match=r"device is .*: give \"auto\", \"cpu\""):
        run(make_spec(), folder=tmp_path, device=device)


def test_resume_refuses_another_request_and_another_dataset(
    make_spec: MakeSpec, make_ear: Any, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    arrays = {
        "x_train": draw.integers(0, 256, (40, 8, 8), np.uint8),
        "y_train": np.arange(40) % 3,
        "x_test": draw.integers(0, 256, (9, 8, 8), np.uint8),
        "y_test": np.arange(9) % 3,
    }
    np.savez(tmp_path / "own.npz", **arrays)
    spec, ear = make_spec(dataset="npz:own"), make_ear("pause", 1)
    run(spec, folder=tmp_path, data_folder=tmp_path, listener=ear)
    state, _ = ear.files[-1]

    with pytest.raises(CheckpointError, match="another request"):
        run(make_spec(seed=9), folder=tmp_path, resume_from=state)
    labelled = spec.model_copy(update={"labels": {"who": "me"}})
    assert not run(
        labelled,
        folder=tmp_path,
        data_folder=tmp_path,
        resume_from=state,
        listener=make_ear("pause", 1),
    ).finished
    arrays["x_train"][0] += 1
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(DataError, match="not what this run started with"):
        run(spec, folder=tmp_path, data_folder=tmp_path, resume_from=state)


def test_diverging_training_ends_with_its_reason(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec(
        method="dense",
        budget={"fraction": 1.0},
        training={"epochs": 30, "batch_size": 32, "learning_rate": 100.0, "weight_decay": 1.0},
    )

    with pytest.raises(NonFiniteLossError) as caught:
        run(spec, folder=tmp_path)

    assert caught.value.field == "/training/learning_rate"


def test_run_needs_no_listener_and_leaves_the_random_state_alone(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    before = torch.random.get_rng_state()

    outcome = run(make_spec(), folder=tmp_path)

    assert outcome.finished
    assert torch.equal(torch.random.get_rng_state(), before)
