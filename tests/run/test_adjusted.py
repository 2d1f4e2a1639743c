"""Jobs that do otherwise than asked, or are cut short by their time limit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import npas
import pytest
from npas.errors import TimeLimitError
from npas.jobs import identity
from npas.run import Adjustments, run
from npas.spec import JobSpec
from npas.train import read, saved

MakeSpec = Callable[..., JobSpec]
HALVES, SLOWER = Adjustments(micro_batches=2), Adjustments(learning_rate_factor=0.1)


@pytest.fixture
def plain(make_spec: MakeSpec) -> JobSpec:
    """A job of one stage, 5 steps an epoch."""
    return make_spec(method="uniform")


@pytest.fixture
def paused(plain: JobSpec, make_ear: Any, tmp_path: Path) -> Path:
    """A resume file of that job after two epochs."""
    outcome = run(plain, folder=tmp_path / "a", device="cpu", listener=make_ear("pause", 10))
    assert not outcome.finished
    return saved(tmp_path / "a" / "state")[0]


def test_report_says_what_was_done_otherwise_and_since_when(
    plain: JobSpec, paused: Path, make_ear: Any, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"device": "cpu", "adjustments": HALVES}
    ear = make_ear("pause", 5)
    run(plain, folder=tmp_path / "b", resume_from=paused, listener=ear, **options)
    (again,) = saved(tmp_path / "b" / "state")
    options["adjustments"] = Adjustments(micro_batches=2, learning_rate_factor=0.1)

    outcome = run(plain, folder=tmp_path / "c", resume_from=again, **options)

    first, second = outcome.report["adjustments"]
    assert (first["stage"], first["step"], first["micro_batches"]) == ("train", 10, 2)
    assert (second["step"], second["learning_rate_factor"]) == (15, 0.1)
    assert "batch normalisation" in first["changes"][0]
    assert "diverged" in second["changes"][1]
    assert "truncated" not in outcome.report


@pytest.mark.parametrize("method", ["block_mix", {"name": "auto", "methods": ["ssn", "uniform"]}])
def test_every_stage_is_computed_in_parts(
    make_spec: MakeSpec, tmp_path: Path, method: object
) -> None:
    spec = make_spec(method=method, training={"epochs": 2, "batch_size": 32})
    spec = spec.model_copy(
        update={"training": spec.training.model_copy(update={"validation_fraction": 0.2})}
    )
    outcome = run(spec, folder=tmp_path, device="cpu", adjustments=HALVES)
    (told,) = outcome.report["adjustments"]
    assert (told["stage"], told["step"], told["micro_batches"]) == ("start", 0, 2)
    assert npas.load(outcome.files["model.safetensors"]) is not None


def limited(spec: JobSpec, seconds: float = 1000.0) -> JobSpec:
    return spec.model_copy(update={"time_limit": seconds})


def test_time_limit_delivers_the_best_so_far_and_keeps_where_it_was(
    plain: JobSpec, paused: Path, make_ear: Any, tmp_path: Path
) -> None:
    ear = make_ear()
    outcome = run(
        limited(plain),
        folder=tmp_path / "b",
        resume_from=paused,
        device="cpu",
        listener=ear,
        spent_seconds=1000,
    )
    report = outcome.report
    assert (outcome.finished, report["truncated"], report["stopped_early"]) == (True, True, True)
    assert (report["epochs_done"], report["epochs"]) == (2, 4)
    assert report["best_epoch"] in (1, 2)
    ((path, step),) = ear.files
    assert step == read(path).facts["step"] == 10

    rest = run(limited(plain, 2000), folder=tmp_path / "c", resume_from=path, device="cpu")

    assert (rest.report["epochs_done"], "truncated" in rest.report) == (4, False)
    whole = run(plain, folder=tmp_path / "d", device="cpu")
    assert rest.report["sha256"] == whole.report["sha256"]


def test_time_limit_of_a_run_that_goes_on_counts_what_came_before(
    plain: JobSpec, paused: Path, tmp_path: Path
) -> None:
    taken = read(paused).facts["job_seconds"]
    outcome = run(
        limited(plain, taken / 2), folder=tmp_path / "b", resume_from=paused, device="cpu"
    )
    assert outcome.report["truncated"]


@pytest.mark.parametrize(
    "method", ["uniform", "block_mix", {"name": "auto", "methods": ["ssn", "uniform"]}]
)
def test_time_limit_without_an_epoch_of_training_is_an_error_that_saves_first(
    make_spec: MakeSpec, make_ear: Any, tmp_path: Path, method: object
) -> None:
    spec, ear = limited(make_spec(method=method)), make_ear()
    with pytest.raises(TimeLimitError, match="time_limit is 1000 s") as caught:
        run(spec, folder=tmp_path, device="cpu", listener=ear, spent_seconds=1000)
    assert (caught.value.code, caught.value.field) == ("timeout", "/time_limit")
    assert ear.files


def test_cancel_is_no_time_limit(plain: JobSpec, make_ear: Any, tmp_path: Path) -> None:
    ear = make_ear("finish", 7)
    outcome = run(limited(plain), folder=tmp_path, device="cpu", listener=ear, spent_seconds=0)
    assert (outcome.stopped_early, "truncated" in outcome.report) == (True, False)


def test_identity_leaves_the_time_limit_out(plain: JobSpec) -> None:
    digests = {
        identity.request_digest(spec, None) for spec in (plain, limited(plain), limited(plain, 9))
    }
    assert len(digests) == 1
