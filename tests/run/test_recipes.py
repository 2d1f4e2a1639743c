"""Options of a recipe together and one by one: budgets are exact, and a pause changes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import npas
import npas.data
import pytest
import torch
from npas.errors import InvalidSpecError
from npas.jobs.admission import admit
from npas.jobs.weighing import weigh
from npas.run import run
from npas.spec import JobSpec
from npas.train import saved
from npas.train.evaluate import evaluate

MakeSpec = Callable[..., JobSpec]

SHORT: dict[str, Any] = {"epochs": 3, "batch_size": 32, "learning_rate": 0.02}
ALL: dict[str, Any] = {
    **SHORT,
    "optimizer": "muon",
    "average": "ema",
    "mixup": 0.2,
    "cutmix": 1.0,
    "augment": "trivial",
    "random_erasing": 0.2,
    "clip_norm": 5.0,
    "bank_rate": 3.0,
    "label_smoothing": 0.1,
    "balance": "weights",
    "test_size": 12,
    "schedule": "cosine",
}
EACH: list[dict[str, Any]] = [
    {"average": "ema"},
    {"average": {"kind": "swa", "start": 0.4}},
    {"mixup": 0.3},
    {"cutmix": 1.0},
    {"augment": "trivial"},
    {"augment": "rand"},
    {"random_erasing": 0.5},
    {"optimizer": "muon"},
    {"clip_norm": 0.5},
    {"bank_rate": 2.0},
    {"test_size": 12},
]
METHODS: list[dict[str, Any]] = [
    {"method": {"name": "block_mix", "search": True, "search_epochs": 1}},
    {"method": {"name": "superweights", "coefficients": "joined", "unshare_epoch": 1}},
    {"method": {"name": "ssn", "search_epochs": 1}},
    {"method": "random"},
    {"method": "narrow"},
    {"method": "dense", "budget": {"fraction": 1.0}},
    {
        "method": {"name": "soft_sharing", "recurrence": 0.1, "fold": 0.5},
        "architecture": "resnet-14",
        "budget": {"fraction": 0.8},
    },
    {"method": {"name": "auto", "methods": ["ssn", "uniform"]}},
    {"method": "superweights", "budget": {"bytes": 45_000}},
]


def content(outcome: Any) -> bytes:
    found: bytes = outcome.files["model.safetensors"].read_bytes()
    return found


def paused(spec: JobSpec, make_ear: Any, folder: Path, every: int) -> Any:
    """Do a job that is paused after every few steps, each time in another folder."""
    path: Path | None = None
    for count in range(100):
        where = folder / str(count)
        outcome = run(
            spec, folder=where, device="cpu", resume_from=path, listener=make_ear("pause", every)
        )
        if outcome.finished:
            assert count > 1
            return outcome
        path = saved(where / "state")[0]
    raise AssertionError("it never ended")


@pytest.mark.parametrize("changes", METHODS, ids=lambda c: str(c["method"])[:40])
def test_all_options_together_keep_the_laws(
    changes: dict[str, Any], make_spec: MakeSpec, make_ear: Any, tmp_path: Path
) -> None:
    spec = make_spec(**{"training": ALL, **changes})
    outcome = run(spec, folder=tmp_path / "whole", device="cpu")
    report = outcome.report
    network = npas.load(outcome.files["model.safetensors"])
    stored = sum(each.numel() for each in network.parameters())
    assert stored == report["parameters"] <= report["budget_parameters"]
    if "bytes" in changes.get("budget", {}):
        assert report["file_bytes"] <= changes["budget"]["bytes"]
    assert content(paused(spec, make_ear, tmp_path, every=7)) == content(outcome)
    assert report["test_size"] == network.extra["input_size"] == 12
    digits = npas.data.load(spec.dataset)
    inputs = digits.inputs(input_size=12)
    assert evaluate(network, digits.x_test, digits.y_test, inputs=inputs).score == pytest.approx(
        report["accuracy"]
    )


@pytest.mark.parametrize("option", EACH, ids=str)
def test_each_option_survives_pauses_and_changes_the_network(
    option: dict[str, Any], make_spec: MakeSpec, make_ear: Any, tmp_path: Path
) -> None:
    plain = make_spec(method="uniform", training=SHORT)
    spec = make_spec(method="uniform", training=SHORT | option)
    outcome = run(spec, folder=tmp_path / "whole", device="cpu")
    assert content(paused(spec, make_ear, tmp_path, every=5)) == content(outcome)
    assert content(outcome) != content(run(plain, folder=tmp_path / "plain", device="cpu"))


def test_networks_on_one_bank_that_take_turns(
    make_spec: MakeSpec, make_ear: Any, tmp_path: Path
) -> None:
    networks = [{"name": n, "architecture": n} for n in ("wrn-10-1", "resnet-8")]
    ensemble = {"networks_trained": 1, "batches": "own"}
    spec = make_spec(
        architecture=None,
        networks=networks,
        method="uniform",
        training=ALL | {"ensemble": ensemble},
    )
    outcome = run(spec, folder=tmp_path / "whole", device="cpu")
    network = npas.load(outcome.files["model.safetensors"])
    assert sum(p.numel() for p in network.parameters()) == outcome.report["parameters"]
    assert content(paused(spec, make_ear, tmp_path, every=6)) == content(outcome)


def test_teacher_and_network_learn_with_mixed_images(make_spec: MakeSpec, tmp_path: Path) -> None:
    training = {"epochs": 8, "batch_size": 16, "learning_rate": 0.05, "schedule": "cosine"}
    training |= {"average": "ema", "mixup": 0.2, "cutmix": 1.0, "distillation": "dense"}
    spec = make_spec(method="uniform", training=training)
    report = run(spec, folder=tmp_path, device="cpu").report
    assert report["distillation"]["accuracy"] > 0.3  # chance is 0.1
    assert report["accuracy"] > 0.3


def test_networks_that_are_joined_stay_as_they_were(make_spec: MakeSpec, tmp_path: Path) -> None:
    parent = run(
        make_spec(method="superweights", training=SHORT), folder=tmp_path / "parent", device="cpu"
    )
    start = parent.files["model.safetensors"]
    spec = make_spec(
        architecture=None,
        networks=[{"name": "new", "architecture": "resnet-14"}],
        budget={"fraction": 2.0},
        method="superweights",
        training=ALL | {"test_size": None},
        start={"checkpoint": parent.report["sha256"], "join": True},
    )
    outcome = run(spec, folder=tmp_path / "joined", device="cpu", start=start)
    before, after = (npas.load(each.files["model.safetensors"]) for each in (parent, outcome))
    name = before.network_names[0]
    digits = npas.data.load(spec.dataset)
    images = digits.inputs()(digits.x_test)
    logits = [each.eval().members(images, [name])[name] for each in (before, after)]
    assert logits[0].equal(logits[1])


def test_sizes_of_files_are_counted_beforehand(
    make_spec: MakeSpec, make_ear: Any, tmp_path: Path
) -> None:
    for place, method in enumerate(("superweights", "random", "dense")):
        spec, ear = make_spec(method=method, training=ALL, budget={"fraction": 1.0}), make_ear()
        outcome = run(
            spec, folder=tmp_path / str(place), device="cpu", listener=ear, checkpoint_seconds=0
        )
        work = weigh(spec, outcome.plan)
        assert abs(work.file_bytes - outcome.files["model.safetensors"].stat().st_size) <= 64
        size = ear.files[-1][0].stat().st_size
        assert size == pytest.approx(work.resume_bytes, rel=0.05)
        plain = weigh(
            make_spec(method=method, training=SHORT, budget={"fraction": 1.0}), outcome.plan
        )
        assert work.macs > plain.macs
        assert work.memory_bytes > plain.memory_bytes
        assert work.kind != plain.kind


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"architecture": "vit-2-32-2", "training": {"test_size": 16}}, "/training/test_size"),
        ({"training": {"test_size": 8}}, "/training/test_size"),
        (
            {
                "architecture": "grid-cnn-4-8",
                "dataset": {"name": "shortest_path", "train_images": 64, "test_images": 20},
                "training": {"cutmix": 1.0},
            },
            "/training/cutmix",
        ),
    ],
    ids=["fixed", "no larger", "cells"],
)
def test_what_does_not_suit_is_refused_before_anything_is_trained(
    changes: dict[str, Any], field: str, make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = make_spec(**{"method": "uniform", **changes})
    for attempt in (lambda: admit(spec), lambda: run(spec, folder=tmp_path, device="cpu")):
        with pytest.raises(InvalidSpecError) as caught:
            attempt()
        assert caught.value.field == field


def test_file_for_a_larger_size_is_exported_for_that_size(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = make_spec(method="uniform", training=SHORT | {"epochs": 1, "test_size": 12})
    outcome = run(spec, folder=tmp_path, device="cpu")
    network = npas.load(outcome.files["model.safetensors"])
    done = npas.export(network, tmp_path / "net.pt2", "torch.export")
    program = torch.export.load(done.path)
    shown = program.graph_signature.user_inputs[0]
    (value,) = (each.meta["val"] for each in program.graph.nodes if each.name == shown)
    assert tuple(value.shape[1:]) == (1, 12, 12)


def test_recipe_trains(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec(method="uniform", training={"recipe": "best", "epochs": 8, "batch_size": 32})
    outcome = run(spec, folder=tmp_path, device="cpu")
    assert outcome.report["accuracy"] > 0.3
