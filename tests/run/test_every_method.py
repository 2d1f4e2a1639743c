"""Every method from request to file, at a size that is small for it; learned groups too."""

import npas
import pytest
from npas import registry
from npas.errors import InfeasibleBudgetError
from npas.jobs.weighing import weigh
from npas.run import run
from npas.train.evaluate import evaluate

METHODS = registry.names("npas.methods")
FRACTIONS = (0.1, 0.3, 0.8, 1.0)


def smallest_of(make_spec, method):
    """Return a spec at the smallest of a few budgets that the method can keep."""
    for fraction in FRACTIONS:
        spec = make_spec(method=method, budget={"fraction": fraction})
        try:
            npas.plan(spec)
        except InfeasibleBudgetError:
            continue
        return spec
    raise AssertionError(f"{method} cannot even be the dense network")


def check_weight(spec, outcome, ear):
    """Hold what was done and written against what was counted beforehand."""
    work = weigh(spec, npas.plan(spec))
    counted = {stage.stage: stage.steps for stage in work.stages}
    race = outcome.report["race"]
    done = {name: row["step"] for (name, _), row in sorted(ear.rows.items())} | {"evaluate": 0}
    if race:
        done["race"] = sum(trial["steps"] for trial in race["trials"])
        # Which method wins, and whether it searches, is not known before.
        assert done.pop("search", 0) <= counted.pop("search", 0)
    assert done == counted
    of_last_plan = weigh(spec, outcome.plan)
    size = outcome.files["model.safetensors"].stat().st_size
    assert abs(of_last_plan.file_bytes - size) <= 64
    assert ear.files[-1][0].stat().st_size == pytest.approx(of_last_plan.resume_bytes, rel=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_run_delivers_what_was_asked_for(method, make_spec, make_ear, tmp_path):
    spec, ear = smallest_of(make_spec, method), make_ear()
    outcome = run(spec, folder=tmp_path, device="cpu", listener=ear, checkpoint_seconds=0)
    report = outcome.report
    network = npas.load(outcome.files["model.safetensors"])
    stored = sum(p.numel() for p in network.parameters())
    assert stored == report["parameters"] <= report["budget_parameters"]
    assert report["dense_parameters"] == npas.plan(spec.architecture, dataset=spec.dataset).dense
    first, last = (ear.rows["train", n]["train_loss"] for n in (1, spec.training.epochs))
    assert last < first
    check_weight(spec, outcome, ear)
    digits = npas.data.load(spec.dataset)
    inputs = digits.inputs(input_size=network.extra["input_size"])
    assert evaluate(network, digits.x_test, digits.y_test, inputs=inputs).score == pytest.approx(
        report["accuracy"]
    )


def test_learned_groups_come_from_what_the_one_group_learned(make_spec, make_ear, tmp_path):
    ear = make_ear()
    method = {"name": "ssn", "num_groups": 3, "private": []}
    spec = make_spec(method=method, budget={"fraction": 0.3})
    outcome = run(spec, folder=tmp_path, device="cpu", listener=ear)
    (searched,) = ear.plans[1].groups
    assert ear.plans[1].stage == "search"
    assert len(searched.slots) > len(ear.plans[1].private)
    assert 1 < len(outcome.plan.groups) <= 3
    assert outcome.report["search"]["epochs"] >= 1


def test_a_narrower_network_says_what_was_asked_for(make_spec, tmp_path):
    spec = make_spec(method="narrow", budget={"fraction": 0.3})
    outcome = run(spec, folder=tmp_path, device="cpu")
    plan = outcome.plan
    assert plan.groups == ()
    assert plan.ledger.total == plan.ledger.dense < plan.requested_dense
    assert plan.networks[0].architecture.options["scale"] < 1
    again = npas.Plan.from_json(plan.to_json())
    assert again == plan


def test_run_in_mixed_precision_ends_where_templates_are_resized(make_spec, tmp_path):
    """The search of learned groups resizes templates, by products that autocast would round."""
    training = {"epochs": 2, "batch_size": 32, "learning_rate": 0.01, "precision": "bfloat16"}
    spec = make_spec(method="ssn", budget={"fraction": 0.3}, training=training)
    outcome = run(spec, folder=tmp_path, device="cpu")
    assert outcome.report["search"]["epochs"] >= 1
    assert npas.load(outcome.files["model.safetensors"]).plan == outcome.plan
