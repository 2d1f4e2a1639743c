"""Jobs with a budget in bytes: the file fits, the report is of the file, pauses change nothing."""

import os
from pathlib import Path
from typing import Any

import npas
import pytest
import torch
from npas.delivery import checkpoint
from npas.delivery.coded.file import CodedFile, is_coded
from npas.delivery.saving import Saving
from npas.errors import InfeasibleBudgetError
from npas.jobs.weighing import weigh
from npas.plans import FilePlan
from npas.run import run

from .conftest import MakeSpec

SIZE = 9_000
SHORT = {"epochs": 5, "batch_size": 32, "learning_rate": 0.05}


def small(make_spec: MakeSpec, **changes: Any) -> Any:
    budget = {"budget": {"bytes": SIZE}, "method": "superweights", "training": SHORT}
    return make_spec(**budget | changes)


def test_job_delivers_a_file_that_fits_and_reports_what_it_holds(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = small(make_spec)
    outcome = run(spec, folder=tmp_path, device="cpu")
    path, report = outcome.files["model.safetensors"], outcome.report
    coding = report["coding"]
    assert report["file_bytes"] == os.stat(path).st_size <= SIZE
    assert report["file_bytes"] >= 0.995 * SIZE
    assert (coding["budget_bytes"], coding["why_less"]) == (SIZE, "")
    assert abs(coding["bits"] - coding["expected_bits"]) < 0.3
    assert sum(coding["stream_bytes"].values()) < SIZE
    assert is_coded(path)
    loaded = npas.load(path)
    assert loaded.plan == outcome.plan
    assert loaded.plan.file is not None
    assert loaded.extra["accuracy"] == report["accuracy"]
    table = CodedFile.read(path).table
    assert {row.name: row.step for row in table.codes} == coding["steps"]
    assert weigh(spec, outcome.plan).file_bytes == SIZE
    data = npas.data.load(spec.dataset)
    x = data.inputs(input_size=loaded.plan.networks[0].architecture.input_size)(data.x_test)
    with torch.no_grad():
        hits = (loaded(x).argmax(1) == data.y_test).double().mean()
    assert hits.item() == pytest.approx(report["accuracy"])


def test_coded_file_is_the_same_bytes_however_often_the_run_is_paused(
    make_spec: MakeSpec, make_ear: Any, tmp_path: Path
) -> None:
    """25 steps, of which the last 15 see rounded weights."""
    spec = small(make_spec)
    whole = run(spec, folder=tmp_path / "whole", device="cpu")
    resume: Path | None = None
    for attempt, steps in enumerate((8, 6, 5)):
        ear = make_ear("pause", steps)
        folder = tmp_path / f"part{attempt}"
        assert not run(
            spec, folder=folder, listener=ear, resume_from=resume, device="cpu"
        ).finished
        resume, _ = ear.files[-1]
    last = run(spec, folder=tmp_path / "last", resume_from=resume, device="cpu")
    for name in ("model.safetensors", "plan.json"):
        assert last.files[name].read_bytes() == whole.files[name].read_bytes()
    assert last.report["coding"] == whole.report["coding"]


def test_several_networks_fit_together_with_their_ladder(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    names = ("resnet-8", "wrn-10-1")
    networks = [{"name": name, "architecture": name} for name in names]
    spec = small(
        make_spec,
        architecture=None,
        networks=networks,
        budget={"bytes": 14_000},
        training=SHORT | {"epochs": 2},
        corrupted_images=0,
    )
    outcome = run(spec, folder=tmp_path, device="cpu")
    assert 0.995 * 14_000 <= outcome.files["model.safetensors"].stat().st_size <= 14_000
    assert outcome.report["ensemble"] is not None


def test_board_that_is_not_known_where_the_job_is_done_is_no_trouble(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request that is handed on has the bytes in it."""
    (tmp_path / "boards.json").write_text('{"mine": {"flash_bytes": 9000}}')
    monkeypatch.setenv("NPAS_BOARDS", str(tmp_path / "boards.json"))
    asked = small(make_spec, budget={"device": "mine"}, training=SHORT | {"epochs": 1})
    plan, handed_on = npas.plan(asked), asked.model_dump_json()
    monkeypatch.delenv("NPAS_BOARDS")
    spec = npas.JobSpec.model_validate_json(handed_on)
    outcome = run(spec, folder=tmp_path / "out", device="cpu", plan=plan)
    assert outcome.files["model.safetensors"].stat().st_size <= 9_000


def test_enough_bytes_deliver_the_plain_file_and_say_so(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = small(
        make_spec, budget={"device": "rp2040"}, method="dense", training=SHORT | {"epochs": 1}
    )
    outcome = run(spec, folder=tmp_path, device="cpu")
    coding = outcome.report["coding"]
    assert not is_coded(outcome.files["model.safetensors"])
    assert "float32" in coding["why_less"]
    assert (coding["bits"], coding["steps"]) == (32, {})
    assert coding["accuracy_before_rounding"] is None


def test_race_between_methods_of_which_some_need_more_bytes_is_planned(
    make_spec: MakeSpec,
) -> None:
    """What it computes is counted from those that fit."""
    methods = ["block_mix", "soft_sharing"]
    least = {}
    for method in methods:
        with pytest.raises(InfeasibleBudgetError) as refused:
            npas.plan("resnet-8", budget={"bytes": 500}, method=method, dataset="digits")
        least[method] = refused.value.minimum
    assert least["block_mix"] + 100 < least["soft_sharing"]
    budget = {"bytes": least["block_mix"] + 100}
    spec = small(make_spec, budget=budget, method={"name": "auto", "methods": methods})
    assert weigh(spec, npas.plan(spec)).file_bytes == budget["bytes"]


def test_too_few_bytes_are_refused_before_anything_is_trained(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    with pytest.raises(InfeasibleBudgetError, match="1,000 bytes is below the minimum"):
        run(small(make_spec, budget={"bytes": 1000}), folder=tmp_path, device="cpu")


def test_file_that_outgrows_its_budget_by_its_grade_is_rounded_after_all(tmp_path):
    plan = npas.plan("resnet-8", budget={"fraction": 0.5}, method="superweights")
    model = npas.share(npas.build(plan.networks[0].architecture, seed=0), plan).eval()
    path, short, long = tmp_path / "model", {"accuracy": 0.5}, {"accuracy": "0" * 50}
    size = checkpoint.plain_bytes(model.state_dict(), checkpoint.note_of(plan, short))
    saving = Saving(FilePlan(bytes=size, overhead=0, bits=32, step=0), {})
    saving.first(model, path, short)
    assert saving.fitted is None
    assert not saving.again(model, path, long)
    saving.first(model, path, short)
    assert saving.fitted is not None
    assert saving.again(checkpoint.load(path), path, long)
    assert path.stat().st_size <= size
