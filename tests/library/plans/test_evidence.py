"""Evidence counts for the method that asks for its kind, on the networks it was measured on."""

import npas
import pytest
import torch
from npas.errors import InvalidSpecError, PlanError
from npas.planning.planner import refine
from npas.plans.evidence import BankAgreement, CoefficientAgreement, Evidence
from npas.run import run
from npas.sharing import measure
from npas.spec import JobSpec


def shared(name="resnet-14", method="superweights", budget=1.0, **options):
    plan = npas.plan(name, budget={"fraction": budget}, method=method, **options)
    return npas.share(npas.build(plan.networks[0].architecture, seed=1), plan, seed=1)


def batches():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, 32, 32, generator=generator)
    return [(images, torch.arange(4))]


@pytest.fixture(scope="module")
def gradients():
    return measure.gradient_agreement(shared(), batches())


@pytest.fixture(scope="module")
def model():
    """A network whose layers share coefficients."""
    return shared(budget=0.4, coefficients="shared", bins=2)


@pytest.fixture(scope="module")
def agreement(model):
    found = measure.coefficient_agreement(model, batches())
    assert found.banks
    return found


REFUSALS = {
    "coefficients": (
        InvalidSpecError,
        "is a CoefficientAgreement, which npas.planning.planner.refine takes",
    ),
    "representation": (InvalidSpecError, "kind representation, .*plans with gradient_agreement"),
    "larger": (PlanError, "not of the networks to plan: it is about main/"),
    "smaller": (PlanError, "not of the networks to plan: it says nothing about main/"),
    "other name": (PlanError, "it is about twin/"),
}


def wrong(which, gradients, agreement):
    if which == "coefficients":
        return agreement
    if which == "representation":
        return Evidence(kind="representation", batches=0, classes=gradients.classes)
    if which == "other name":
        first, *rest = gradients.classes
        layers = tuple(("twin", layer) for _, layer in first.layers)
        return gradients.model_copy(
            update={"classes": (first.model_copy(update={"layers": layers}), *rest)}
        )
    name = {"larger": "resnet-20", "smaller": "resnet-8"}[which]
    return measure.gradient_agreement(shared(name), batches())


@pytest.mark.parametrize("method", ["superweights", "dense"])
@pytest.mark.parametrize(("which", "refusal"), REFUSALS.items())
def test_plan_refuses_evidence_of_another_kind_or_network(
    which, refusal, method, gradients, agreement
):
    error, told = refusal
    with pytest.raises(error, match=told):
        npas.plan("resnet-14", method=method, evidence=wrong(which, gradients, agreement))


def test_plan_takes_the_evidence_of_its_networks(gradients):
    plan = npas.plan("resnet-14", budget={"fraction": 1.0}, evidence=gradients)
    assert plan == npas.plan(
        "resnet-14", budget={"fraction": 1.0}, evidence=Evidence.from_json(gradients.to_json())
    )
    npas.plan("resnet-14", budget={"fraction": 1.0}, evidence=gradients, unshared=["stem"])


@pytest.mark.parametrize(("which", "refusal"), REFUSALS.items())
def test_run_refuses_such_evidence_before_anything_is_made(
    which, refusal, gradients, agreement, tmp_path
):
    error, told = refusal
    spec = JobSpec.model_validate(
        {
            "architecture": "resnet-14",
            "budget": {"fraction": 1.0},
            "dataset": "digits",
            "training": {"epochs": 1},
        }
    )
    with pytest.raises(error, match=told):
        run(spec, folder=tmp_path / "out", evidence=wrong(which, gradients, agreement))
    assert not (tmp_path / "out").exists()


def test_refine_refuses_evidence_of_another_kind(model, gradients):
    with pytest.raises(InvalidSpecError, match="of type Evidence; refine takes a Coefficient"):
        refine(model.plan, gradients)
    with pytest.raises(PlanError, match="plan is a SharedModel"):
        refine(model, gradients)


def test_refine_refuses_evidence_of_another_plan(model, agreement):
    bank = agreement.banks[0]
    others = [
        bank.model_copy(update={"group": "g99"}),
        bank.model_copy(update={"bank": 99}),
        BankAgreement(group=bank.group, bank=bank.bank, layers=(("main", "x"),), cosine=((1.0,),)),
    ]
    for other in others:
        with pytest.raises(PlanError, match="of another plan: here, bank"):
            refine(model.plan, CoefficientAgreement(batches=1, banks=(other,)))
    refine(model.plan, agreement)
