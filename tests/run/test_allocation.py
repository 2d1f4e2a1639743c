"""The report explains the allocation: with whom, at what cost, and what more budget would buy."""

import json
import math
from dataclasses import replace

import npas
import pytest
import torch
from npas.data import Inputs
from npas.delivery.allocation_report import AllocationReport
from npas.delivery.explaining import Measurable, Question, explained
from npas.jobs.weighing import weigh
from npas.planning.planner import solve
from npas.planning.problem import PlanningProblem
from npas.planning.richer import MORE, grown, richer
from npas.run import run
from npas.train import saved
from npas.train.batches import split
from npas.train.evaluate import evaluate

METHOD = {"name": "uniform"}
SEVERAL = [{"name": name, "architecture": "resnet-8"} for name in ("first", "second")]


@pytest.fixture
def spec(make_spec):
    return make_spec(method=METHOD, explain=3.0)


def allocation(outcome):
    return AllocationReport.model_validate(outcome.report["allocation"])


def test_each_layer_is_measured_and_drawn(spec, make_ear, tmp_path):
    ear = make_ear()
    outcome = run(spec, folder=tmp_path, device="cpu", listener=ear)
    found, plan = allocation(outcome), outcome.plan
    shared = {slot.key for group in plan.groups for slot in group.slots}
    order = [(row.network, row.layer) for row in found.layers]
    wanted = [layer.key for layer in npas.arch.planned_layers(plan)]
    assert order == wanted
    for row in found.layers:
        assert (row.measured is not None) == ((row.network, row.layer) in shared)
        assert (row.group is not None) == (row.measured is not None)
        if row.measured:
            assert row.measured.standard_error > 0
            assert row.measured.parameters == row.parameters - row.own_parameters
    measuring = found.measuring
    assert measuring.are_held_out
    assert (measuring.layers, measuring.layers_left_out) == (len(shared), 0)
    assert measuring.images <= 15  # a tenth of 150
    assert 0 < measuring.step_share <= 3.0
    assert found.why_not_measured == ""
    assert "unsharing.svg" in outcome.files
    picture = outcome.files["unsharing.svg"].read_text()
    assert all(f"main/{layer}: " in picture for _, layer in wanted)
    assert ear.fractions == sorted(ear.fractions)
    assert json.loads(outcome.files["report.json"].read_text()) == outcome.report


def test_more_budget_is_spent_as_the_method_would(spec, tmp_path):
    outcome = run(spec, folder=tmp_path, device="cpu")
    found = allocation(outcome).next_budget
    problem = PlanningProblem.of(spec, npas.data.facts(spec.dataset))
    more = richer(problem, None)
    assert more == solve(replace(problem, budget=grown(problem.budget)))
    assert (found.unit, found.budget) == ("parameters", more.ledger.budget)
    assert outcome.plan.ledger.total < found.plan.parameters == more.ledger.total <= found.budget
    assert found.plan.text == npas.compare(outcome.plan, more).text()
    private = {layer.layer for layer in more.private} - {x.layer for x in outcome.plan.private}
    assert set(found.plan.becomes_plain) == private
    assert found.room == int(MORE * outcome.plan.ledger.budget)
    rows = {row.layer: row for row in allocation(outcome).layers}
    assert found.parameters == sum(each.parameters for each in found.unshared) <= found.room
    assert found.loss_change == sum(each.loss_change for each in found.unshared)
    for each in found.unshared:
        measured = rows[each.layer].measured
        assert -each.loss_change == -measured.loss_change > measured.standard_error


def test_measuring_changes_nothing_else(make_spec, tmp_path):
    told = {}
    for share in (0, 3.0):
        spec = make_spec(method=METHOD, explain=share)
        told[share] = run(spec, folder=tmp_path / str(share), device="cpu")
    without, measured = told[0], told[3.0]
    names = ("model.safetensors", "plan.json")
    for name in names:
        assert without.files[name].read_bytes() == measured.files[name].read_bytes()
    assert without.files.keys() == measured.files.keys() - {"unsharing.svg"}
    left = allocation(without)
    assert (left.measuring, left.why_not_measured) == (None, "`explain` of the request is 0")
    assert left.next_budget.unshared is None
    assert left.next_budget.plan == allocation(measured).next_budget.plan
    bare = [row.model_copy(update={"measured": None}) for row in allocation(measured).layers]
    assert list(left.layers) == bare


def test_a_job_that_is_killed_while_it_measures_goes_on_to_the_same(spec, tmp_path, monkeypatch):
    whole = run(spec, folder=tmp_path / "whole", device="cpu")

    def killed(model, asked):
        def stop(*_):
            raise KeyboardInterrupt

        return explained(model, replace(asked, source=replace(asked.source, progress=stop)))

    with monkeypatch.context() as patch:
        patch.setattr("npas.delivery.deliver.explained", killed)
        with pytest.raises(KeyboardInterrupt):
            run(spec, folder=tmp_path / "killed", device="cpu", checkpoint_seconds=0)
    (latest, *_) = saved(tmp_path / "killed" / "state")
    again = run(spec, folder=tmp_path / "killed", device="cpu", resume_from=latest)
    assert again.report["allocation"] == whole.report["allocation"]
    for name in ("model.safetensors", "unsharing.svg"):
        assert again.files[name].read_bytes() == whole.files[name].read_bytes()


def test_without_held_out_images_training_images_are_kept_from_the_steps(make_spec, tmp_path):
    training = {"epochs": 2, "batch_size": 32, "validation_fraction": 0, "keep": "last"}
    spec = make_spec(method=METHOD, explain=5.0, training=training)
    measuring = allocation(run(spec, folder=tmp_path, device="cpu")).measuring
    assert not measuring.are_held_out
    assert measuring.images + measuring.step_images <= 150


def test_what_takes_too_long_is_left_out_and_told(make_spec, tmp_path):
    for share, measured in ((0.0001, 0), (0.5, 2)):
        spec = make_spec(method=METHOD, explain=share)
        outcome = run(spec, folder=tmp_path / str(share), device="cpu")
        found = allocation(outcome)
        count = sum(row.measured is not None for row in found.layers)
        assert (count > 0) == (measured > 0)
        assert ("unsharing.svg" in outcome.files) == (measured > 0)
        assert found.why_not_measured.startswith("the training was") == (measured == 0)
        if measured:
            sharing = sum(row.group is not None for row in found.layers)
            assert found.measuring.layers_left_out == sharing - count > 0
            assert f"{sharing - count} of {sharing} layers" in found.why_not_measured
            assert found.measuring.step_share <= share


def test_several_networks_are_measured_together(make_spec, tmp_path):
    spec = make_spec(
        architecture=None,
        networks=SEVERAL,
        method=METHOD,
        budget={"fraction": 0.3},
        explain=3.0,
        corrupted_images=0,
    )
    outcome = run(spec, folder=tmp_path, device="cpu")
    found = allocation(outcome)
    assert {row.network for row in found.layers} == {"first", "second"}
    assert any("second/" in name for row in found.layers for name in row.shares_with)
    assert found.measuring.layers == sum(row.group is not None for row in found.layers)
    assert ">second</text>" in outcome.files["unsharing.svg"].read_text()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"method": "narrow", "budget": {"fraction": 0.3}}, "larger networks"),
        ({"method": "dense", "budget": {"fraction": 1.0}}, "budget"),
    ],
)
def test_plans_without_sharing_are_explained(make_spec, tmp_path, changes, text):
    outcome = run(make_spec(**changes), folder=tmp_path, device="cpu")
    found = allocation(outcome)
    assert all(row.group is None for row in found.layers)
    assert (found.measuring, found.why_not_measured) == (None, "no layer shares")
    assert text in found.next_budget.plan.text


def test_a_budget_in_bytes_is_explained_in_bytes(make_spec, tmp_path):
    spec = make_spec(method=METHOD, budget={"bytes": 8000}, explain=3.0)
    outcome = run(spec, folder=tmp_path, device="cpu")
    assert allocation(outcome).measuring.layers > 0
    found = allocation(outcome).next_budget
    assert (found.unit, found.budget) == ("bytes", 8800)
    assert found.plan.bits[0] == outcome.plan.file.bits
    assert found.plan.text.endswith(
        f"bits of a weight: {found.plan.bits[0]} -> {found.plan.bits[1]}"
    )
    assert found.room == int(MORE * outcome.plan.ledger.total)
    assert found.plan.parameters > outcome.plan.ledger.total


def test_the_time_limit_leaves_no_time_to_measure(spec, make_ear, tmp_path):
    run(spec, folder=tmp_path, device="cpu", listener=make_ear("pause", 10))
    (path, *_) = saved(tmp_path / "state")
    limited = spec.model_copy(update={"time_limit": 1000.0})
    options = {"folder": tmp_path, "device": "cpu", "resume_from": path}
    found = allocation(run(limited, **options, spent_seconds=1000))
    assert (found.measuring, found.why_not_measured) == (None, "the time limit was over")


def test_measuring_is_weighed_as_steps(make_spec):
    spec = make_spec(method=METHOD, explain=3.0)
    without = spec.model_copy(update={"explain": 0.0})
    plan = npas.plan(spec)
    (*_, train, measured), (*_, none) = weigh(spec, plan).stages, weigh(without, plan).stages
    assert 1.0 < (measured.macs - none.macs) / train.macs <= 3.0


def test_a_network_whose_losses_are_no_numbers_is_delivered_all_the_same(spec, tmp_path):
    """On an image that only the measuring sees, an answer may be infinite."""
    outcome = run(spec, folder=tmp_path, device="cpu")
    network = npas.load(outcome.files["model.safetensors"])
    asked = question_of(network, math.nan)
    found = explained(network, asked)
    assert found.measuring is None
    assert "not numbers" in found.why_not_measured
    assert found.next_budget.unshared is None


def question_of(network, mean):
    """Return a question about a network that reads images with this mean taken off."""
    images, labels = torch.zeros(64, 1, 8, 8, dtype=torch.uint8), torch.zeros(64).long()
    source = Measurable(
        learned=(images, labels),
        held_out=(images[:8], labels[:8]),
        inputs=Inputs(mean=(mean,), std=(1.0,), input_size=8),
        seed=0,
        batch=32,
        at_once=32,
        allowed=1000.0,
        steps=1000,
        device=torch.device("cpu"),
    )
    return Question(source=source, before=network.plan, richer=None, why_not="")


def test_images_of_a_larger_size_are_measured_as_they_are_graded(make_spec, tmp_path):
    training = {"epochs": 4, "batch_size": 32, "test_size": 12}
    spec = make_spec(method=METHOD, explain=5.0, training=training)
    outcome = run(spec, folder=tmp_path, device="cpu")
    measuring = allocation(outcome).measuring
    assert measuring.step_share <= 5.0
    network = npas.load(outcome.files["model.safetensors"])
    digits = npas.data.load(spec.dataset)
    _, places = split(len(digits.x_train), spec.training.validation_fraction, seed=spec.seed)
    losses = evaluate(
        *(network, digits.x_train[places], digits.y_train[places]),
        inputs=digits.inputs(input_size=12),
    )
    assert (measuring.images, measuring.loss) == (len(places), pytest.approx(losses.nll))
