"""A network that begins with another's weights: exactly, where its plan has place for them."""

import npas
import pytest
import torch
from npas import registry
from npas.errors import StartError
from npas.sharing import build
from npas.sharing.inheritance import inherited
from npas.sharing.sameness import check_inherits
from npas.testing.counting import num_stored
from npas.testing.networks import Request, images, several

METHODS = registry.names("npas.methods")
SMALL = several("resnet-8", size=8)
PAIR = several("resnet-8", "resnet-8", size=8)


def trained(plan):
    """A model with weights and statistics that no fresh one has, and what it answers."""
    model = build.model(plan, seed=3)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        model.train()
        model.members(images(plan, 4))
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))
    model.eval()
    return model


def answers(model):
    model.eval()
    with torch.no_grad():
        return model.members(images(model.plan, 4))


def plan_of(method, networks=SMALL, fraction=0.6):
    return Request(method, networks, {}).plan_or_minimum(fraction)


@pytest.mark.parametrize(
    ("method", "networks"),
    [*((name, SMALL) for name in METHODS), ("block_mix", PAIR), ("ssn", PAIR)],
)
def test_same_plan_gives_the_same_network_bit_for_bit(method, networks):
    model = trained(plan_of(method, networks))
    twin = inherited(model, model.plan, seed=0)
    ours, theirs = twin.state_dict(), model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for name, logits in answers(model).items():
        assert torch.equal(answers(twin)[name], logits)
    assert [p.requires_grad for p in twin.parameters()] == [
        p.requires_grad for p in build.model(model.plan, seed=0).parameters()
    ]


@pytest.mark.parametrize("method", [name for name in METHODS if name != "narrow"])
def test_another_plan_holds_its_budget_and_is_nearer_than_chance(method):
    model, plan = trained(plan_of("block_mix")), plan_of(method, fraction=0.8)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = inherited(model, plan, seed=0)
    assert num_stored(other) == plan.ledger.total <= plan.ledger.budget
    assert all(torch.isfinite(tensor).all() for tensor in other.state_dict().values())
    (wanted,) = answers(model).values()

    def distance(found):
        (logits,) = answers(found).values()
        return float((logits - wanted).square().mean())

    assert distance(other) < distance(build.model(plan, seed=0))
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_enough_budget_loses_nothing():
    model, plan = trained(plan_of("block_mix")), plan_of("dense", fraction=1.0)
    plain = model.materialise()["n0"].eval()
    (found,) = answers(inherited(model, plan, seed=0)).values()
    with torch.no_grad():
        assert torch.equal(found, plain(images(plan, 4)))


def test_groups_that_are_the_same_keep_their_numbers():
    model = trained(plan_of("uniform"))
    first, *others = model.plan.groups
    plan = model.plan.model_copy(
        update={"groups": (first.model_copy(update={"name": "renamed"}), *others)}
    )
    twin = inherited(model, plan, seed=0)
    ours, theirs = twin.groups["renamed"].parameters(), model.groups[first.name].parameters()
    assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    ("network", "told"),
    [
        ({"name": "resnet-14"}, "the checkpoint has no stages.0.1.conv1.weight"),
        ({"name": "resnet-8", "num_classes": 7}, r"fc.weight is \(7, 64\), in the checkpoint \("),
        ({"name": "wrn-10-1"}, "network n0 is not that of the checkpoint: "),
    ],
)
def test_other_layers_are_refused_and_the_first_is_named(network, told):
    wanted = [{"name": "n0", "architecture": {"input_size": 8} | network}]
    spec = npas.spec.PlanRequest.model_validate({"networks": wanted, "budget": {"fraction": 1.0}})
    with pytest.raises(StartError, match=told) as caught:
        check_inherits(npas.plan(spec), plan_of("dense", fraction=1.0))
    assert caught.value.field == "/start/checkpoint"


def test_a_network_that_lacks_layers_is_refused():
    wanted = plan_of("dense", several("resnet-8", size=8), 1.0)
    with pytest.raises(StartError, match=r"it has no stages\.0\.1"):
        check_inherits(wanted, plan_of("dense", several("resnet-14", size=8), 1.0))


def test_networks_of_other_names_are_refused():
    with pytest.raises(StartError, match=r"are \['n0', 'n1'\], those of .* \['n0'\]"):
        check_inherits(plan_of("dense", PAIR, 1.0), plan_of("dense", fraction=1.0))


def test_a_narrower_network_is_refused_by_its_first_layer():
    with pytest.raises(StartError, match=r"conv\.weight is \(11, 3, 3, 3\), in the"):
        check_inherits(plan_of("narrow", fraction=0.5), plan_of("dense", fraction=1.0))


def test_settings_without_weights_may_differ():
    base = {"name": "vit-2-32-4", "input_size": 8}
    plans = [
        npas.plan(
            npas.spec.PlanRequest.model_validate(
                {"architecture": base | {"options": options}, "budget": {"fraction": 1.0}}
            )
        )
        for options in ({"heads": 2}, {"heads": 4})
    ]
    assert plans[0].networks != plans[1].networks
    check_inherits(*plans)
