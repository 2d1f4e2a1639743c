"""A job trains the plan that it was accepted with, whatever happened to data and code since."""

import npas
import numpy as np
import pytest
import torch
from npas import methods
from npas.errors import OutdatedPlanError, PlanError
from npas.planning import file_budget
from npas.run import run
from torch import nn

METHOD = {"name": "uniform"}
RACE = {"name": "auto", "methods": ["uniform", "random"], "share": 0.5}


@pytest.fixture
def changed_planner(monkeypatch):
    """Change a method so that it plans otherwise than it did."""
    method = methods.find(METHOD["name"])
    before = method.allocate

    def allocate(table, budget, options, **others):
        return before(table, budget, options.model_copy(update={"bins": 1}), **others)

    monkeypatch.setattr(method, "allocate", allocate)


def test_job_trains_the_plan_that_was_promised(make_spec, make_ear, tmp_path, request):
    spec = make_spec(method=METHOD)
    promised, ear = npas.plan(spec), make_ear()
    request.getfixturevalue("changed_planner")
    assert npas.plan(spec) != promised
    outcome = run(spec, folder=tmp_path, device="cpu", listener=ear, plan=promised)
    assert outcome.plan == ear.plans[0] == promised
    assert npas.load(outcome.files["model.safetensors"]).plan == promised


def test_job_that_goes_on_keeps_its_plan_too(make_spec, make_ear, tmp_path, request):
    spec, ear = make_spec(method=METHOD), make_ear("pause", 1)
    run(spec, folder=tmp_path / "one", device="cpu", listener=ear)
    request.getfixturevalue("changed_planner")
    outcome = run(spec, folder=tmp_path / "two", device="cpu", resume_from=ear.files[-1][0])
    assert outcome.plan == ear.plans[0]


def test_data_that_changed_since_are_told(make_spec, tmp_path):
    images = np.zeros((40, 8, 8, 1), np.uint8)

    def write(classes):
        labels = np.arange(40) % classes
        parts = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
        np.savez(tmp_path / "mine.npz", **parts)

    write(5)
    spec = make_spec(method=METHOD, dataset="npz:mine")
    promised = npas.plan(spec, data_folder=tmp_path)
    write(4)
    with pytest.raises(OutdatedPlanError, match="num_classes of 'main' was 5 and is 4; submit"):
        run(spec, folder=tmp_path / "out", data_folder=tmp_path, device="cpu", plan=promised)


@pytest.mark.parametrize("method", [METHOD, "block_mix", "auto"])
def test_code_that_changed_since_is_told_before_anything_is_trained(make_spec, tmp_path, method):
    spec = make_spec(method=method)
    text = npas.plan(spec).to_json().replace("stages.0.0.conv1", "stages.0.0.conv9")
    with pytest.raises(OutdatedPlanError, match=r"conv[19].*; submit the job again"):
        run(spec, folder=tmp_path, device="cpu", plan=npas.Plan.from_json(text))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"budget": 30_000}, "the job's budget is 30,000"),
        ({"method": "random"}, "the plan is of method uniform, the job's is random"),
        ({"budget": {"fraction": 0.7}}, "its budget is 45001 parameters, the job's is 52501"),
        ({"architecture": "resnet-14"}, "the job asks for"),
        ({"architecture": {"name": "resnet-8", "options": {"scale": 0.9}}}, "options or layers"),
        ({"method": {"name": "uniform", "bins": 2}}, "has options {}, the job's {'bins': 2}"),
        ({"unshared": ["stages.*"]}, "shares main/stages.*, which the job keeps unshared"),
    ],
)
def test_plan_of_another_job_is_refused(make_spec, tmp_path, change, told):
    plan = npas.plan(make_spec(method=METHOD))
    with pytest.raises(PlanError, match=told):
        run(make_spec(**{"method": METHOD, **change}), folder=tmp_path, device="cpu", plan=plan)


@pytest.mark.parametrize("method", [METHOD, "block_mix"])
def test_plan_that_forgets_a_layer_is_refused_before_anything_is_trained(
    make_spec, make_ear, tmp_path, method
):
    spec, ear = make_spec(method=method), make_ear()
    plan = npas.plan(spec).model_copy(update={"private": ()})
    with pytest.raises(PlanError, match="does not name every layer"):
        run(spec, folder=tmp_path, device="cpu", listener=ear, plan=plan)
    assert ear.plans == {}


@pytest.mark.parametrize("method", [METHOD, RACE])
def test_plan_in_bytes_made_beside_another_coder_is_trained(
    make_spec, tmp_path, monkeypatch, method
):
    """How many parameters so many bytes hold is guessed by what the coder here makes of a plan."""
    spec = make_spec(method=method, budget={"bytes": 9_000}, training={"epochs": 2})
    with monkeypatch.context() as other:
        other.setattr(file_budget, "_FRAME_BYTES", 900)
        promised = npas.plan(spec)
    today = npas.plan(spec)
    assert promised.ledger.budget < today.ledger.budget
    outcome = run(spec, folder=tmp_path, device="cpu", plan=promised)
    assert outcome.files["model.safetensors"].stat().st_size <= 9_000
    assert method == RACE or outcome.plan == promised


@pytest.mark.parametrize("budget", [{"bytes": 9_000}, {"fraction": 0.5}])
def test_plan_for_another_file_is_refused(make_spec, tmp_path, budget):
    plan = npas.plan(make_spec(method=METHOD, budget={"bytes": 9_001}))
    with pytest.raises(OutdatedPlanError, match="its file has 9001 bytes, the job's"):
        run(make_spec(method=METHOD, budget=budget), folder=tmp_path, device="cpu", plan=plan)


def test_plan_to_search_with_is_refused(make_spec, tmp_path):
    spec = make_spec()
    with pytest.raises(PlanError, match="stage 'search'"):
        run(spec, folder=tmp_path, device="cpu", plan=npas.plan(spec, stage="search"))


def test_job_that_races_keeps_the_plan_that_was_promised_until_there_is_a_winner(
    make_spec, make_ear, tmp_path
):
    spec = make_spec(method=RACE)
    promised, ear = npas.plan(spec), make_ear()
    promised = promised.model_copy(update={"minimum": promised.minimum - 1})  # of another release
    outcome = run(spec, folder=tmp_path, device="cpu", listener=ear, plan=promised)
    assert ear.plans[0] == promised
    assert outcome.plan == ear.plans[max(ear.plans)] != promised


def test_race_on_data_that_changed_since_is_refused(make_spec, tmp_path):
    promised = npas.plan(make_spec(method=RACE, dataset="digits"))
    networks = promised.networks[0].architecture.model_copy(update={"num_classes": 5})
    network = promised.networks[0].model_copy(update={"architecture": networks})
    changed = promised.model_copy(update={"networks": (network,)})
    with pytest.raises(OutdatedPlanError, match="num_classes of 'main' was 5 and is 10; submit"):
        run(make_spec(method=RACE), folder=tmp_path, device="cpu", plan=changed)


@pytest.mark.parametrize("given", ["a plan", {}, 5])
def test_what_is_no_plan_is_refused(make_spec, tmp_path, given):
    with pytest.raises(PlanError, match="plan"):
        run(make_spec(), folder=tmp_path, device="cpu", plan=given)


def test_plan_of_a_larger_network_is_refused_by_the_jobs_own_size(make_spec, tmp_path):
    half = {"budget": {"fraction": 0.5}, "method": METHOD}
    plan = npas.plan(make_spec(architecture={"name": "wrn-16-2"}, **half))
    network = make_spec(architecture={"name": "wrn-16-1"}, **half)
    planned = plan.networks[0].architecture.model_copy(update={"name": "wrn-16-1"})
    networks = (plan.networks[0].model_copy(update={"architecture": planned}),)
    with pytest.raises(PlanError, match="the job's budget is"):
        run(
            network,
            folder=tmp_path,
            device="cpu",
            plan=plan.model_copy(update={"networks": networks}),
        )


def test_plan_of_another_graph_of_the_same_layers_is_refused(make_spec, tmp_path):
    def spec_of(function):
        stages = (nn.Conv2d(1, 8, 3, padding=1), function(), nn.Conv2d(8, 8, 3, padding=1))
        module = nn.Sequential(*stages, nn.Flatten(), nn.Linear(8 * 64, 10)).eval()
        return make_spec(method=METHOD, architecture=npas.declare(module, torch.zeros(2, 1, 8, 8)))

    promised = npas.plan(spec_of(nn.ReLU))
    with pytest.raises(PlanError, match="its graph differs"):
        run(spec_of(nn.Tanh), folder=tmp_path, device="cpu", plan=promised)
