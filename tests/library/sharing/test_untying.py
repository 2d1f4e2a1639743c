"""Coefficients that part in the midst of training: nothing jumps, nothing is lost."""

import npas
import pytest
import torch
from npas.errors import DataError, PlanError
from npas.planning.planner import refine
from npas.sharing.measure import coefficient_agreement, gradient_agreement
from npas.sharing.untying import separated, untie
from npas.spec import ArchitectureSpec, NetworkSpec
from torch.nn import functional as F

PAIR = [
    NetworkSpec(name="deep", architecture=ArchitectureSpec(name="resnet-14")),
    NetworkSpec(name="wide", architecture=ArchitectureSpec(name="wrn-10-1")),
]
STARTS = {
    "one network, shared": ("resnet-14", "shared"),
    "two networks, shared": (PAIR, "shared"),
    "two networks, joined": (PAIR, "joined"),
}


def batches(count, size=6):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, size, 3, 12, 12, generator=generator)
    labels = torch.randint(10, (count, size), generator=generator)
    return list(zip(images, labels, strict=True))


def logits(model, x):
    with torch.no_grad():
        return list(model.members(x).values())


@pytest.fixture(params=STARTS)
def model(request):
    """A model with statistics and coefficients that are not the initial ones."""
    networks, how = STARTS[request.param]
    plan = npas.plan(
        networks, method="superweights", budget={"fraction": 0.4}, coefficients=how, bins=2
    )
    built = {n.name: npas.build(n.architecture, seed=3) for n in plan.networks}
    shared = npas.share(built, plan, seed=3)
    shared.extra = {"kept": 1}
    with torch.no_grad():
        shared.members(batches(1)[0][0])
        for group in shared.groups.values():
            for coefficients in group.coefficients:
                coefficients.add_(0.1 * torch.randn(coefficients.shape))
    return shared


@pytest.mark.parametrize("frozen", ["templates", "coefficients", ""])
def test_frozen_coefficients_are_measured_too_and_stay_frozen(model, frozen):
    wanted = coefficient_agreement(model, batches(1))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(frozen not in name)
    before = [parameter.requires_grad for parameter in model.parameters()]
    assert coefficient_agreement(model, batches(1)) == wanted
    assert [parameter.requires_grad for parameter in model.parameters()] == before


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_outputs_are_equal_to_the_bit_when_coefficients_part(model):
    x, _ = batches(2)[1]
    plan = refine(model.plan, coefficient_agreement(model, batches(2)))
    assert plan.ledger.coefficients > model.plan.ledger.coefficients
    for wanted in (plan, separated(model.plan)):
        for mode in (True, False):
            before, after = model.train(mode), untie(model, wanted).model
            assert after.training == mode
            for one, other in zip(logits(before, x), logits(after, x), strict=True):
                assert torch.equal(one, other)


def test_untied_model_has_what_its_plan_says_once(model):
    plan = refine(model.plan, coefficient_agreement(model, batches(2)))
    untied = untie(model, plan)
    assert untied.model.plan == plan
    assert untied.model.extra == {"kept": 1}
    assert count(untied.model) == plan.ledger.total <= plan.ledger.budget
    assert plan.ledger.budget == model.plan.ledger.budget
    storages = [p.untyped_storage().data_ptr() for p in untied.model.parameters()]
    assert len(set(storages)) == len(storages)


def test_untied_rows_are_copies_of_their_origins(model):
    untied = untie(model, separated(model.plan))
    old, new = dict(model.named_parameters()), dict(untied.model.named_parameters())
    assert list(old) == list(new)
    assert untied.rows
    for name, parameter in new.items():
        wanted = old[name][untied.rows[name]] if name in untied.rows else old[name]
        assert torch.equal(parameter, wanted)
        assert parameter.data_ptr() != old[name].data_ptr()
    buffers = dict(untied.model.networks.named_buffers())
    assert all(torch.equal(buffers[name], b) for name, b in model.networks.named_buffers())


def test_untying_leaves_the_model_as_it_is(model):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    coefficient_agreement(model, batches(1))
    untie(model, separated(model.plan))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert modes == [module.training for module in model.modules()]
    assert all(parameter.grad is None for parameter in model.parameters())


def layer_weights(model, layers):
    plain = model.materialise()
    return [plain[network].get_parameter(layer).detach() for network, layer in layers]


def test_agreement_is_that_of_each_layers_own_gradient(model):
    """A weight is linear in its coefficients: <dL/dW, W(a + 1) - W(a)> is the gradient for a."""
    found = coefficient_agreement(model, batches(2))
    plain = model.materialise()
    for network in plain.values():
        network.eval()
        for x, y in batches(2):
            F.cross_entropy(network(x), y).backward()
    assert found.batches == 2
    assert found.banks
    groups = {group.name: group for group in model.plan.groups}
    for known in found.banks:
        place = sum(bank.rows > 0 for bank in groups[known.group].banks[: known.bank])
        coefficients = model.groups[known.group].coefficients[place]
        gradients = [plain[network].get_parameter(layer).grad for network, layer in known.layers]
        before = layer_weights(model, known.layers)
        own = torch.zeros(len(before), coefficients.shape[1], dtype=torch.float64)
        for k in range(coefficients.shape[1]):
            with torch.no_grad():
                coefficients[:, k] += 1
                after = layer_weights(model, known.layers)
                coefficients[:, k] -= 1
            for i, (one, other) in enumerate(zip(after, before, strict=True)):
                own[i, k] = (gradients[i] * (one - other)).sum()
        unit = F.normalize(own, dim=1)
        assert torch.tensor(known.cosine, dtype=torch.float64).allclose(unit @ unit.t(), atol=1e-3)


def test_agreement_sees_layers_of_one_network_apart():
    """In the released code they have one gradient, and never part."""
    plan = npas.plan(
        "resnet-14", method="superweights", budget={"fraction": 0.4}, coefficients="shared", bins=1
    )
    model = npas.share(npas.build("resnet-14", seed=0), plan)
    found = coefficient_agreement(model, batches(3))
    assert any(min(min(row) for row in bank.cosine) < 0.9 for bank in found.banks)
    assert refine(plan, found).ledger.coefficients > plan.ledger.coefficients


@pytest.mark.parametrize("blocks", ["nest", "stack"])
def test_agreement_of_own_coefficients_has_nothing_to_say(blocks):
    plan = npas.plan("resnet-14", method="superweights", budget={"fraction": 0.4}, blocks=blocks)
    model = npas.share(npas.build("resnet-14"), plan)
    found = coefficient_agreement(model, batches(1))
    assert found.banks == ()
    refined = refine(plan, found)
    assert (refined.groups, refined.ledger) == (plan.groups, plan.ledger)


def test_agreement_needs_a_batch(model):
    with pytest.raises(DataError, match="no batch"):
        coefficient_agreement(model, [])


def test_untie_refuses_what_is_not_a_refinement():
    plan = npas.plan(
        "resnet-14", method="superweights", budget={"fraction": 0.4}, coefficients="shared"
    )
    model = npas.share(npas.build("resnet-14"), plan)
    apart = separated(plan)
    with pytest.raises(PlanError, match="no lone origin"):
        untie(untie(model, apart).model, plan)
    with pytest.raises(PlanError, match="not the same"):
        untie(model, npas.plan("resnet-14", method="superweights", budget={"fraction": 0.5}))
    with pytest.raises(PlanError, match="not the same plan"):
        untie(model, apart.model_copy(update={"groups": apart.groups[:-1]}))


def test_refined_plan_can_be_saved_and_loaded(model, tmp_path):
    untied = untie(model, separated(model.plan)).model.eval()
    npas.save(untied, tmp_path / "refined.safetensors")
    loaded = npas.load(tmp_path / "refined.safetensors")
    x, _ = batches(1)[0]
    assert loaded.plan.stage == "refined"
    for one, other in zip(logits(untied, x), logits(loaded, x), strict=True):
        assert torch.equal(one, other)


def test_gradient_agreement_is_measured_under_a_refined_plan_too(model):
    untied = untie(model, separated(model.plan)).model
    assert gradient_agreement(untied, batches(1)) == gradient_agreement(model, batches(1))
