"""A training that begins with the weights of a model file."""

from pathlib import Path

import npas
import pytest
import torch
from npas import data
from npas.errors import StartError
from npas.jobs import admission, identity
from npas.jobs.continuation import continues
from npas.jobs.start import Start, begun
from npas.planning.planner import solve
from npas.planning.problem import PlanningProblem
from npas.run import run
from npas.spec import JobSpec

REQUEST = {
    "architecture": "resnet-8",
    "budget": {"fraction": 0.6},
    "method": {"name": "block_mix", "search": True, "search_epochs": 1},
    "dataset": {"name": "digits", "train_images": 150, "test_images": 60},
    "training": {"epochs": 2, "batch_size": 32},
}


def spec_of(**changes):
    return JobSpec.model_validate(REQUEST | changes)


def problem_of(spec):
    return PlanningProblem.of(spec, data.facts(spec.dataset))


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """A run that searched, and delivered."""
    torch.set_num_threads(1)
    return run(spec_of(), folder=tmp_path_factory.mktemp("parent"), device="cpu")


@pytest.fixture(scope="module")
def file(parent) -> Path:
    return parent.files["model.safetensors"]


def test_same_plan_begins_with_the_very_network_that_was_delivered(
    parent, file, make_ear, tmp_path
):
    """Finished before the first step, what is delivered is what it began with."""
    ear = make_ear("finish", 0)
    outcome = run(spec_of(), folder=tmp_path, device="cpu", listener=ear, start=file)
    before, after = (npas.load(each) for each in (file, outcome.files["model.safetensors"]))
    assert outcome.report["epochs_done"] == 0
    assert outcome.plan == after.plan == parent.plan
    ours, theirs = after.state_dict(), before.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(after(images), before(images))
    assert outcome.report["start"] == {
        "checkpoint": parent.report["sha256"],
        "is_continued": True,
        "accuracy": parent.report["accuracy"],
    }


def test_same_plan_is_trained_on_without_a_search_and_can_be_paused(
    parent, file, make_ear, tmp_path
):
    spec = spec_of(training={"epochs": 1, "batch_size": 32})
    ear = make_ear()
    whole = run(spec, folder=tmp_path / "whole", device="cpu", listener=ear, start=file)
    assert list(ear.plans.values()) == [parent.plan]
    assert set(ear.rows) == {("train", 1)}
    assert whole.report["search"] is None
    paused = make_ear("pause", 3)
    run(spec, folder=tmp_path / "one", device="cpu", listener=paused, start=file)
    again = run(
        spec,
        folder=tmp_path / "two",
        device="cpu",
        start=file,
        resume_from=paused.files[-1][0],
    )
    assert again.report["sha256"] == whole.report["sha256"]
    assert again.report["start"] == whole.report["start"]


def test_another_budget_searches_anew_and_begins_with_what_fits(parent, file, make_ear, tmp_path):
    spec, ear = spec_of(budget={"fraction": 0.9}), make_ear()
    outcome = run(spec, folder=tmp_path, device="cpu", listener=ear, start=file)
    report = outcome.report
    assert report["budget_parameters"] == npas.plan(spec).ledger.budget
    stored = sum(p.numel() for p in npas.load(outcome.files["model.safetensors"]).parameters())
    assert parent.plan.ledger.total < stored == report["parameters"]
    assert stored <= report["budget_parameters"]
    assert report["start"]["is_continued"] is False
    assert report["start"]["accuracy"] > 0.5 * parent.report["accuracy"]
    fresh = make_ear()
    run(spec, folder=tmp_path / "fresh", device="cpu", listener=fresh)
    for place in (("search", 1), ("train", 1)):
        assert ear.rows[place]["train_loss"] < fresh.rows[place]["train_loss"]


def test_a_race_begins_with_the_weights_too(file, tmp_path):
    """So its short trainings, of the same batches, do better than those of random weights."""
    method = {"name": "auto", "methods": ["uniform", "block_mix"], "share": 0.5}
    spec = spec_of(method=method)
    started = run(spec, folder=tmp_path / "one", device="cpu", start=file)
    fresh = run(spec, folder=tmp_path / "two", device="cpu")
    assert started.report["start"]["is_continued"] is False
    ours, theirs = (each.report["race"]["trials"] for each in (started, fresh))
    assert ours
    assert ours[0]["nll"] < theirs[0]["nll"]


def test_start_is_a_part_of_what_tells_jobs_apart(file, make_ear, tmp_path):
    named = spec_of(start={"checkpoint": Start.read(file).sha256})
    assert identity.request_digest(named, None) != identity.request_digest(spec_of(), None)
    ear = make_ear("finish", 0)
    outcome = run(named, folder=tmp_path, device="cpu", listener=ear, start=file)
    assert outcome.report["start"]["is_continued"] is True


def test_accepted_plan_that_is_not_of_the_start_is_trained(file, make_ear, tmp_path):
    """As where the budget was changed: the promise holds, the weights are fitted into it."""
    spec = spec_of(method="uniform")
    accepted, ear = npas.plan(spec), make_ear("finish", 0)
    outcome = run(spec, folder=tmp_path, device="cpu", listener=ear, start=file, plan=accepted)
    assert outcome.plan == accepted
    assert outcome.report["start"]["is_continued"] is False


@pytest.mark.parametrize(
    ("changes", "is_one"),
    [
        ({}, True),
        ({"seed": 7, "training": {"epochs": 1}}, True),
        ({"budget": {"fraction": 0.7}}, False),
        ({"method": "block_mix"}, False),
        ({"method": "uniform"}, False),
        ({"unshared": ["stages.*"]}, False),
    ],
)
def test_plan_of_the_start_is_kept_where_it_is_one_for_the_job(parent, changes, is_one):
    spec = spec_of(**changes)
    assert continues(parent.plan, spec, problem_of(spec)) is is_one


def test_refined_plans_are_kept_and_plans_to_search_with_are_not(parent):
    spec = spec_of()
    problem = problem_of(spec)
    assert continues(parent.plan.refined(parent.plan.groups), spec, problem)
    assert not continues(solve(problem, stage="search"), spec, problem)


def test_admission_promises_the_plan_of_the_start(parent, file):
    start = {"checkpoint": parent.report["sha256"]}
    assert admission.admit(spec_of(start=start), start=file) == parent.plan
    other = admission.admit(spec_of(start=start, budget={"fraction": 0.7}), start=file)
    assert other == npas.plan(spec_of(budget={"fraction": 0.7}))


def test_admission_refuses_a_start_of_other_layers(file):
    spec = spec_of(architecture="resnet-14", start={"checkpoint": "0" * 64})
    with pytest.raises(StartError, match=r"no stages\.0\.1\.conv1\.weight; begin"):
        admission.admit(spec, start=file)


@pytest.mark.parametrize("how", [admission.admit, lambda spec: run(spec, folder="nowhere")])
def test_start_that_is_not_given_is_refused(how, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StartError, match=r"give it too, as run\(spec, start=PATH\)"):
        how(spec_of(start={"checkpoint": "0" * 64}))


def test_file_that_is_not_the_one_named_is_refused(file, tmp_path):
    spec = spec_of(start={"checkpoint": "0" * 64})
    with pytest.raises(StartError, match="starts from 000") as caught:
        run(spec, folder=tmp_path, device="cpu", start=file)
    assert caught.value.field == "/start/checkpoint"


@pytest.mark.parametrize("content", [None, b"", b"x" * 100])
def test_file_that_is_none_of_ours_is_refused(content, tmp_path):
    path = tmp_path / "start.safetensors"
    if content is not None:
        path.write_bytes(content)
    for act in (
        lambda: run(spec_of(), folder=tmp_path / "out", device="cpu", start=path),
        lambda: admission.admit(spec_of(start={"checkpoint": "0" * 64}), start=path),
    ):
        with pytest.raises(StartError, match=r"cannot be used: .*; start from another"):
            act()


def test_without_a_start_weights_are_random():
    plan = npas.plan(spec_of())
    first, second = (begun(None, plan, spec_of()).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
