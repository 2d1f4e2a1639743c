"""A run whose plan is refined in the midst of its training: kept, compared, resumed to the bit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import npas
import pytest
from npas.errors import InvalidSpecError
from npas.jobs.admission import admit
from npas.run import run
from npas.spec import JobSpec

MakeSpec = Callable[..., JobSpec]

METHOD = {
    "name": "superweights",
    "search_epochs": 1,
    "bins": 1,
    "threshold": -1.0,
    "coefficients": "shared",
    "unshare_epoch": 2,
    "evidence_batches": 3,
}


@pytest.fixture
def spec(make_spec: MakeSpec) -> JobSpec:
    """5 steps an epoch: 5 of search, then 10, a refinement, and 5 more."""
    training = {"epochs": 3, "batch_size": 32, "learning_rate": 0.05}
    return make_spec(
        architecture="resnet-14", budget={"fraction": 0.4}, method=METHOD, training=training
    )


def test_refined_plan_is_the_delivered_one(spec: JobSpec, make_ear: Any, tmp_path: Path) -> None:
    ear = make_ear()

    outcome = run(spec, folder=tmp_path, listener=ear, device="cpu")

    assert sorted(ear.plans) == [0, 1, 2, 3]
    assert [plan.stage for _, plan in sorted(ear.plans.items())] == [
        *("train", "search", "train", "refined")
    ]
    assert outcome.plan == ear.plans[3] != ear.plans[2]
    network = npas.load(outcome.files["model.safetensors"])
    assert network.plan == outcome.plan
    scalars = sum(p.numel() for p in network.parameters())
    assert scalars == outcome.plan.ledger.total <= outcome.report["budget_parameters"]
    found = npas.compare(ear.plans[2], ear.plans[3])
    assert found.moves == ()
    assert found.ledger["coefficients"] > 0
    assert [type for type, *_ in ear.events][-2:] == ["searched", "refined"]


def test_plans_and_costs_are_kept(spec: JobSpec, make_ear: Any, tmp_path: Path) -> None:
    ear = make_ear()

    outcome = run(spec, folder=tmp_path, listener=ear, device="cpu")

    kept = json.loads(outcome.files["plans.json"].read_text())
    assert [row["version"] for row in kept] == [0, 1, 2, 3]
    for row in kept:
        assert npas.Plan.from_json(json.dumps(row["plan"])) == ear.plans[row["version"]]
        assert row["stage"] == ear.plans[row["version"]].stage
    report = outcome.report
    assert [row["parameters"] for row in report["plans"]] == [
        plan.ledger.total for _, plan in sorted(ear.plans.items())
    ]
    assert report["plans"][2]["moved"] == len(npas.compare(ear.plans[1], ear.plans[2]).moves)
    search, refinement = report["search"], report["refinement"]
    assert (search["epochs"], search["steps"], search["steps_share"]) == (1, 5, 0.25)
    assert search["seconds"] > 0
    assert 0 < search["seconds_share"] < 1
    assert (refinement["epoch"], refinement["batches"]) == (2, 3)
    assert refinement["rows_before"] < refinement["rows_after"]
    assert 0 < refinement["seconds_share"] < 1
    assert "refined in training" in outcome.files["refinements.svg"].read_text()


def test_refined_run_is_the_same_bytes_however_often_it_is_paused(
    spec: JobSpec, make_ear: Any, tmp_path: Path
) -> None:
    """Pauses before, at and after the refinement, which is 10 steps into the training."""
    whole = run(spec, folder=tmp_path / "whole", device="cpu")
    resume: Path | None = None

    for attempt, steps in enumerate((6, 8, 1, 1, 2)):
        ear = make_ear("pause", steps)
        folder = tmp_path / f"part{attempt}"
        paused = run(spec, folder=folder, listener=ear, resume_from=resume, device="cpu")
        assert not paused.finished
        resume, _ = ear.files[-1]
    ear = make_ear()
    last = run(spec, folder=tmp_path / "last", listener=ear, resume_from=resume, device="cpu")

    names = ("model.safetensors", "plan.json", "plans.json", "refinements.svg", "similarity.svg")
    for name in names:
        assert (name in last.files) == (name in whole.files)
        if name in whole.files:
            assert last.files[name].read_bytes() == whole.files[name].read_bytes()
    timed = ("seconds", "search", "refinement")
    assert {k: v for k, v in last.report.items() if k not in timed} == {
        k: v for k, v in whole.report.items() if k not in timed
    }
    assert last.report["refinement"]["rows_after"] == whole.report["refinement"]["rows_after"]
    assert sorted(ear.plans) == [0, 1, 2, 3]


@pytest.mark.parametrize("boundary", [15, 16])
def test_resume_file_at_the_refinement_goes_on_either_way(
    spec: JobSpec, make_ear: Any, tmp_path: Path, boundary: int
) -> None:
    """The file of the epoch's end is from before the refinement, the next one from after it."""
    ear = make_ear()
    whole = run(spec, folder=tmp_path / "a", listener=ear, device="cpu", checkpoint_seconds=0)
    ear = make_ear("pause", boundary)
    run(spec, folder=tmp_path / "b", listener=ear, device="cpu", checkpoint_seconds=0)
    resume, _ = ear.files[-1]

    again = run(spec, folder=tmp_path / "c", resume_from=resume, device="cpu")

    assert again.report["sha256"] == whole.report["sha256"]


def test_run_without_a_refinement_says_so(make_spec: MakeSpec, tmp_path: Path) -> None:
    outcome = run(make_spec(method="dense", budget={"fraction": 1.0}), folder=tmp_path)

    assert outcome.report["refinement"] is None
    assert [row["version"] for row in outcome.report["plans"]] == [0]
    assert "refinements.svg" not in outcome.files


def test_an_epoch_to_refine_that_never_comes_is_refused(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = make_spec(method=METHOD | {"unshare_epoch": 4})

    for refused in (lambda: admit(spec), lambda: run(spec, folder=tmp_path)):
        with pytest.raises(InvalidSpecError, match="not before the end of 4 epochs") as caught:
            refused()
        assert caught.value.field == "/method/unshare_epoch"


def test_networks_that_start_with_the_firsts_coefficients_part_without_a_search(
    make_spec: MakeSpec, make_ear: Any, tmp_path: Path
) -> None:
    method = {"name": "superweights", "search": False, "bins": 1, "coefficients": "joined"}
    networks = [{"name": n, "architecture": a} for n, a in (("a", "resnet-14"), ("b", "resnet-8"))]
    training = {"epochs": 2, "batch_size": 32}
    spec = make_spec(
        architecture=None,
        networks=networks,
        budget={"fraction": 0.4},
        method=method,
        training=training,
    )
    ear = make_ear()

    outcome = run(spec, folder=tmp_path, listener=ear, device="cpu")

    assert sorted(ear.plans) == [0, 3]
    assert outcome.plan == ear.plans[3]
    assert outcome.report["search"] is None
    assert outcome.report["refinement"]["epoch"] == 1
    found = npas.compare(ear.plans[0], ear.plans[3])
    assert found.moves == ()
    assert 0 < found.ledger["coefficients"] <= ear.plans[0].ledger.unused


@pytest.mark.parametrize("how", ["joined", "shared"])
def test_equal_blocks_share_coefficients_too_and_part(
    make_spec: MakeSpec, make_ear: Any, tmp_path: Path, how: str
) -> None:
    method = {"name": "superweights", "blocks": "stack", "search_epochs": 1, "coefficients": how}
    networks = [{"name": n, "architecture": a} for n, a in (("a", "resnet-14"), ("b", "resnet-8"))]
    spec = make_spec(
        architecture=None,
        networks=networks,
        budget={"fraction": 0.4},
        method=method,
        training={"epochs": 2, "batch_size": 32},
    )
    ear = make_ear()

    outcome = run(spec, folder=tmp_path, listener=ear, device="cpu")

    assert {group.recipe for group in outcome.plan.groups} == {"stack"}
    assert sorted(ear.plans) == [0, 1, 2, 3]
    assert outcome.plan == ear.plans[3]
    tied = [len({slot.rows for slot in group.slots}) for group in ear.plans[2].groups]
    apart = [len({slot.rows for slot in group.slots}) for group in outcome.plan.groups]
    slots = [len(group.slots) for group in outcome.plan.groups]
    assert sum(tied) < sum(apart) <= sum(slots)
    found = npas.compare(ear.plans[2], ear.plans[3])
    assert found.moves == ()
    assert 0 < found.ledger["coefficients"] <= ear.plans[2].ledger.unused
