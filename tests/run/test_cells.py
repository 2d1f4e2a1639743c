"""Jobs on a dataset that asks for each cell of an image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import npas
import npas.data
import pytest
from npas.data import Inputs
from npas.errors import InvalidSpecError
from npas.jobs.admission import admit
from npas.run import run
from npas.spec import JobSpec
from npas.train.evaluate import evaluate

MakeSpec = Callable[..., JobSpec]

TRAINING = {"epochs": 4, "batch_size": 20, "optimizer": "adam", "learning_rate": 0.01}


@pytest.fixture
def make_cells(make_spec: MakeSpec) -> MakeSpec:
    def make(**changes: Any) -> JobSpec:
        return make_spec(
            **{
                "architecture": "grid-cnn-3-8",
                "dataset": {"name": "shortest-path:1", "train_images": 120, "test_images": 40},
                "method": {"name": "block_mix", "search": True, "search_epochs": 1},
                "training": TRAINING,
            }
            | changes
        )

    return make


def test_job_on_cells_searches_learns_and_reports_f1(make_cells: MakeSpec, tmp_path: Path) -> None:
    spec = make_cells(training={**TRAINING, "distillation": "dense"})

    outcome = run(spec, folder=tmp_path, device="cpu")

    report = outcome.report
    assert (report["metric"], report["top5"]) == ("f1", None)
    assert report["accuracy"] == report["f1"] > 0.3  # saying yes to every cell gives 0.01
    network = npas.load(outcome.files["model.safetensors"])
    extra, grids = network.extra, npas.data.load(spec.dataset)
    inputs = Inputs(mean=tuple(extra["mean"]), std=tuple(extra["std"]), input_size=32)
    found = evaluate(network, grids.x_test, grids.y_test, inputs=inputs)
    assert (found.score, found.precision) == (report["accuracy"], report["precision"])
    assert report["distillation"]["accuracy"] > 0.3
    assert "validation F1" in outcome.files["curve.svg"].read_text()


@pytest.mark.parametrize("change", [{"flip": True}, {"crop_padding": 2}, {"cutout": 3}], ids=str)
def test_change_of_images_that_would_leave_the_answers_wrong_is_refused(
    make_cells: MakeSpec, tmp_path: Path, change: dict[str, Any]
) -> None:
    spec = make_cells(training={**TRAINING, **change})

    for refused in (lambda: admit(spec), lambda: run(spec, folder=tmp_path)):
        with pytest.raises(InvalidSpecError, match="leave it out") as caught:
            refused()
        assert caught.value.field == f"/training/{next(iter(change))}"
