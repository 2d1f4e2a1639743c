"""What soft sharing delivers beside its network."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import npas
import pytest
from npas import data
from npas.delivery.checkpoint import num_parameters
from npas.errors import InvalidSpecError
from npas.folding.similarity import History
from npas.run import Outcome, run
from npas.spec import JobSpec
from npas.train import read, saved
from npas.train.evaluate import evaluate

MakeSpec = Callable[..., JobSpec]


@pytest.fixture
def make_job(make_spec: MakeSpec) -> MakeSpec:
    def make(epochs: int = 3, **options: Any) -> JobSpec:
        method = {"name": "soft_sharing", "templates": 2} | options
        training = {"epochs": epochs, "batch_size": 32, "keep": "last"}
        return make_spec(architecture="wrn-22-1", budget=300_000, method=method, training=training)

    return make


def matrices(path: Path, plan: npas.Plan) -> History:
    history = History()
    history.restore(plan, read(path).tensors)
    return history


def paused_and_resumed(spec: JobSpec, folder: Path, make_ear: Any, step: int) -> Outcome:
    paused = run(spec, folder=folder, listener=make_ear("pause", step), device="cpu")
    assert not paused.finished
    return run(spec, folder=folder, device="cpu", resume_from=saved(folder / "state")[0])


def test_similarity_of_every_epoch_is_drawn_and_survives_a_pause(
    make_job: MakeSpec, make_ear: Any, tmp_path: Path
) -> None:
    spec = make_job(recurrence=0.01)

    whole = run(spec, folder=tmp_path / "whole", device="cpu", checkpoint_seconds=0)
    again = paused_and_resumed(spec, tmp_path / "again", make_ear, 7)

    for name in ("model.safetensors", "similarity.svg"):
        assert whole.files[name].read_bytes() == again.files[name].read_bytes()
    picture = whole.files["similarity.svg"].read_text()
    assert picture.count(">start<") == 3
    assert [picture.count(f">epoch {n}<") for n in range(5)] == [0, 3, 3, 3, 0]
    last = matrices(saved(tmp_path / "whole" / "state")[0], whole.plan)
    assert last.epochs == [0, 1, 2, 3]
    delivered = npas.similarity(npas.load(whole.files["model.safetensors"]))
    for group, found in last.matrices.items():
        assert (found[-1] - delivered[group]).abs().max() < 1e-6


def test_recurrence_makes_layers_more_alike(make_job: MakeSpec, tmp_path: Path) -> None:
    means = []
    for strength in (0.0, 0.1):
        outcome = run(make_job(recurrence=strength), folder=tmp_path / f"{strength}", device="cpu")
        found = npas.similarity(npas.load(outcome.files["model.safetensors"])).values()
        means.append(sum(matrix.mean().item() for matrix in found) / len(found))
    assert means[1] > means[0] + 0.02


def test_dense_networks_have_no_picture_of_similarity(make_spec: MakeSpec, tmp_path: Path) -> None:
    outcome = run(make_spec(method="dense", budget=100_000), folder=tmp_path, device="cpu")
    assert "similarity.svg" not in outcome.files


def test_folded_network_is_delivered_with_its_ledger_and_accuracy(
    make_job: MakeSpec, tmp_path: Path
) -> None:
    """Pulled towards recurrence, a network trained on real digits folds at little loss."""
    spec = make_job(8, templates=3, recurrence=0.3, fold=0.9)

    outcome = run(spec, folder=tmp_path, device="cpu")

    report, folding = outcome.report, outcome.report["folding"]
    folded = npas.load(outcome.files["folded.safetensors"])
    ledger = folded.plan.ledger
    assert folding["ledger"] == ledger.model_dump()
    assert folding["parameters"] == ledger.total == num_parameters(folded)
    assert folding["parameters"] < folding["parameters_before"] == report["parameters"]
    assert folded.extra["accuracy"] == folding["accuracy"]
    assert folding["accuracy_change"] == folding["accuracy"] - report["accuracy"]
    exact = all(group["least_similarity"] > 1 - 1e-6 for group in folding["groups"])
    assert (folding["accuracy_before_recalibration"] is None) == exact
    assert abs(folding["accuracy_as_loops"] - folding["accuracy"]) < 0.02
    assert folding["accuracy_change"] > -0.1
    assert any(place["steps"] == 2 for place in folding["loops"])
    assert json.loads(outcome.files["report.json"].read_text())["folding"] == folding
    dataset = data.load(spec.dataset, None)
    network = npas.loops(folded)
    found = evaluate(network, dataset.x_test, dataset.y_test, inputs=dataset.inputs())
    assert found.score == folding["accuracy_as_loops"]


def test_no_folding_is_reported_as_none(make_job: MakeSpec, tmp_path: Path) -> None:
    outcome = run(make_job(1), folder=tmp_path, device="cpu")
    assert outcome.report["folding"] is None
    assert "folded.safetensors" not in outcome.files


def test_a_threshold_out_of_range_is_refused(make_job: MakeSpec, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpecError, match="less than or equal to 1") as caught:
        run(make_job(fold=1.5), folder=tmp_path, device="cpu")
    assert caught.value.field == "/method/fold"
