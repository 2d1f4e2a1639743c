"""Weights are composed once per step, and never are they stale."""

import copy

import npas
import pytest
import torch
from npas.spec import BudgetSpec
from torch.nn import functional as F

BOTH = [("block_mix", 0.4), ("soft_sharing", 0.75)]


@pytest.fixture(params=BOTH, ids=[method for method, _ in BOTH])
def model(request):
    """A small network in evaluation mode, so that batches do not depend on each other."""
    method, fraction = request.param
    plan = npas.plan("wrn-16-1", budget=BudgetSpec(fraction=fraction), method=method)
    return npas.share(npas.build("wrn-16-1", seed=2), plan, seed=2).eval()


@pytest.fixture
def composed(model):
    """Count how often each group's weights were composed since the last look."""
    seen = {}

    def count():
        found = {name: group._num_composed for name, group in model.groups.items()}
        new = {found[name] - seen.get(name, 0) for name in found}
        seen.update(found)
        assert len(new) == 1
        return new.pop()

    return count


X = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
Y = torch.arange(8) % 10


def outputs(model):
    with torch.no_grad():
        return model(X)


def truth(model):
    """Return the outputs of plain networks made from the banks by a copy that knows nothing."""
    twin = copy.deepcopy(model)
    for group in twin.groups.values():
        group.forget()
    return outputs(twin.materialise()["main"].eval())


def loss_of(model, x=X, y=Y):
    return F.cross_entropy(model(x), y)


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9, nesterov=True),
    "foreach": lambda p: torch.optim.SGD(p, lr=1e-3, foreach=True),
    "fused": lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9, fused=True),
    "fused adam": lambda p: torch.optim.AdamW(p, lr=1e-3, fused=True),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_composed_once_per_optimiser_step(model, composed, name):
    optimizer = OPTIMIZERS[name](model.parameters())
    composed()
    for _ in range(3):
        before = outputs(model)
        loss_of(model).backward()
        loss_of(model).backward()
        assert composed() == 1
        optimizer.step()
        optimizer.zero_grad()
        assert not torch.equal(outputs(model), before)
        assert torch.equal(outputs(model), truth(model))
        assert composed() == 1
        optimizer.step()


def test_composed_once_while_nothing_changes(model, composed):
    outputs(model)
    composed()
    for _ in range(3):
        outputs(model)
        model.materialise()
        copy.deepcopy(model)
        loss_of(model)
        with torch.inference_mode():
            model(X)
    assert composed() == 0


def test_composed_under_inference_mode_trains_afterwards(model):
    """The first use of a network may be an evaluation."""
    with torch.inference_mode():
        found = model(X)
    assert torch.equal(found, outputs(model))
    loss_of(model).backward()
    model.train()
    loss_of(model).backward()
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    with torch.inference_mode():
        found = model.eval()(X)
    assert torch.equal(found, truth(model))
    loss_of(model).backward()


def test_model_made_under_inference_mode_works(model, composed):
    """Such tensors have no version: nothing is cached, nothing is stale."""
    with torch.inference_mode():
        twin = copy.deepcopy(model)
        assert torch.equal(twin(X), outputs(model))
        scale_in_place(twin)
        scale_in_place(model)
        found = twin(X)
    assert torch.equal(found, outputs(model))
    assert torch.equal(outputs(twin), found)
    assert composed() == 2


def test_another_networks_optimiser_is_no_reason_to_compose(model, composed):
    other = copy.deepcopy(model)
    optimizer = torch.optim.SGD(other.parameters(), lr=1e-3, fused=True)
    loss = loss_of(model)
    composed()
    loss_of(other).backward()
    optimizer.step()
    outputs(model)
    loss.backward()
    assert composed() == 0


def scale_in_place(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)


def scale_one_coefficient(model):
    with torch.no_grad():
        group = next(g for g in model.groups.values() if len(g.coefficients))
        group.coefficients[0][0, 0] += 0.5


def scale_one_template(model):
    with torch.no_grad():
        next(iter(model.groups.values())).templates[0][0, 0] += 5


def scale_in_inference_mode(model):
    with torch.inference_mode():
        scale_in_place(model)


def scaled_state(model, factor=1.1):
    state = model.state_dict()
    return {n: t * factor if t.is_floating_point() else t for n, t in state.items()}


def load_state(model):
    model.load_state_dict(scaled_state(model))


def assign_state(model):
    for factor in (0.9, 1.2, 0.8):
        model.load_state_dict(scaled_state(model, factor), assign=True)


def replace_data(model):
    for parameter in model.parameters():
        parameter.data = parameter.data * 1.1


def replace_parameters(model):
    for group in model.groups.values():
        group.templates[0] = torch.nn.Parameter(group.templates[0].detach() * 2)


def write_a_vector(model):
    vector = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    torch.nn.utils.vector_to_parameters(vector * 1.1, model.parameters())


def through_half(model):
    scale_in_place(model.bfloat16().float())


def write_through_data_and_say_so(model):
    for parameter in model.parameters():
        parameter.data.mul_(1.1)
    model.eval()


def write_through_numpy_and_say_so(model):
    for parameter in model.parameters():
        array = parameter.detach().numpy()
        array *= 1.1
    model.train().eval()


def write_a_vector_twice_and_say_so(model):
    vector = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    torch.nn.utils.vector_to_parameters(vector, model.parameters())
    outputs(model)
    torch.nn.utils.vector_to_parameters(vector.mul_(1.1), model.parameters())
    model.eval()


def average_with_another(model):
    averaged = torch.optim.swa_utils.AveragedModel(model)
    other = copy.deepcopy(model)
    scale_in_place(other)
    averaged.update_parameters(other)
    model.load_state_dict(averaged.module.state_dict())


CHANGES = [
    *(scale_in_place, scale_one_coefficient, scale_one_template, scale_in_inference_mode),
    *(load_state, assign_state, replace_data, replace_parameters, write_a_vector, through_half),
    *(write_through_data_and_say_so, write_through_numpy_and_say_so),
    *(write_a_vector_twice_and_say_so, average_with_another),
]


@pytest.mark.parametrize("change", CHANGES)
def test_weights_are_never_stale(model, change):
    """Changed more than once: new memory may lie where the old one lay."""
    for times in (1, 2, 3, 2):
        before = outputs(model)
        for _ in range(times):
            change(model)
        after = outputs(model)
        assert not torch.equal(after, before)
        assert torch.equal(after, truth(model))


def test_weights_are_not_stale_in_a_copy(model):
    twin = copy.deepcopy(model)
    outputs(twin)
    scale_in_place(model)
    assert torch.equal(outputs(model), truth(model))
    assert torch.equal(outputs(twin), truth(twin))
    assert not torch.equal(outputs(twin), outputs(model))


def test_average_of_models_composes_its_own_weights(model):
    averaged = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, fused=True)
    for _ in range(3):
        loss_of(model).backward()
        optimizer.step()
        averaged.update_parameters(model)
        assert torch.equal(outputs(averaged), truth(averaged.module))
        assert torch.equal(outputs(model), truth(model))


def test_micro_batches_add_up_to_the_big_batch(model, composed):
    model.double()
    x = X.double()
    F.cross_entropy(model(x), Y, reduction="sum").backward()
    wanted = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    composed()
    for start in range(0, 8, 2):
        part = slice(start, start + 2)
        F.cross_entropy(model(x[part]), Y[part], reduction="sum").backward()
    assert composed() == 0
    for parameter, gradient in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-9)


def test_micro_batches_may_all_go_forward_first(model):
    model.double()
    losses = [F.cross_entropy(model(X[i : i + 2].double()), Y[i : i + 2]) for i in (0, 2, 4, 6)]
    for loss in losses:
        (loss / 4).backward()
    found = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    F.cross_entropy(model(X.double()), Y).backward()
    for parameter, gradient in zip(model.parameters(), found, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-9)


def scale_banks(model):
    scale_in_place(model.groups)


@pytest.mark.parametrize("change", [scale_banks, scale_one_template, scale_one_coefficient])
def test_backward_after_a_change_is_refused(model, change):
    loss = loss_of(model)
    change(model)
    with pytest.raises(RuntimeError, match="changed between forward and backward"):
        loss.backward()


@pytest.mark.parametrize("change", [scale_in_place, scale_one_template])
def test_backward_after_a_change_and_another_forward_is_refused(model, change):
    """The second forward writes over the first one's weights; silence would be wrong gradients."""
    loss = loss_of(model)
    change(model)
    outputs(model)
    with pytest.raises(RuntimeError, match=r"changed between|modified by an inplace"):
        loss.backward()


def test_an_evaluation_between_forward_and_backward_changes_nothing(model):
    """As for pseudo-labels: the network is asked for its opinion in the midst of a step."""
    model.train()
    wanted = copy.deepcopy(model)
    loss_of(wanted).backward()
    loss = loss_of(model)
    for _ in range(2):
        outputs(model.eval())
        with torch.inference_mode():
            model(X)
        model.train()
    loss.backward()
    for parameter, other in zip(model.parameters(), wanted.parameters(), strict=True):
        assert torch.equal(parameter.grad, other.grad)


def test_backward_after_an_unseen_change_and_an_evaluation_is_refused(model):
    loss = loss_of(model)
    for parameter in model.parameters():
        parameter.data.mul_(1.1)
    outputs(model.eval())
    model.train()
    with pytest.raises(RuntimeError, match="changed between forward and backward"):
        loss.backward()


def test_an_evaluation_after_a_step_leaves_the_weights_of_another_thread_alone(model):
    """A serving thread holds what it was given, whatever another one loads and evaluates."""
    outputs(model)
    held = [weight for group in model.groups.values() for weight in group.weights()]
    kept = [weight.clone() for weight in held]
    scale_in_place(model)
    outputs(model)
    outputs(model.eval())
    assert all(torch.equal(one, other) for one, other in zip(held, kept, strict=True))


def test_backward_after_a_fused_step_is_refused(model):
    optimizer = torch.optim.SGD(model.groups.parameters(), lr=1e-3, fused=True)
    first, second = loss_of(model), loss_of(model)
    first.backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match="changed between forward and backward"):
        second.backward()


def test_gradients_are_those_of_the_plain_network(model):
    """Against a copy whose weights are composed by plain autograd operations, in float64."""
    model.double()
    F.cross_entropy(model(X.double()), Y).backward()
    plain = model.materialise()["main"].eval()
    plain.zero_grad()
    F.cross_entropy(plain(X.double()), Y).backward()
    of_layers = {name: p.grad for name, p in plain.named_parameters()}
    for spec, group in zip(model.plan.groups, model.groups.values(), strict=True):
        leaves = [p.detach().clone().requires_grad_() for p in group.parameters()]
        twin = copy.deepcopy(group)
        weights = torch.func.functional_call(
            twin, dict(zip(dict(group.named_parameters()), leaves, strict=True)), ()
        )
        total = sum(
            (weight * of_layers[slot.layer]).sum()
            for slot, weight in zip(spec.slots, weights, strict=True)
        )
        for leaf, parameter in zip(
            torch.autograd.grad(total, leaves), group.parameters(), strict=True
        ):
            torch.testing.assert_close(leaf, parameter.grad, rtol=1e-9, atol=1e-12)
