"""A trained network under a plan, in Python."""

import npas
import pytest
import torch
from npas.errors import DataError, InvalidSpecError
from npas.testing.counting import num_stored
from npas.testing.networks import Request, several
from torch import nn

OPTIONS = {"keep_plain": False}
PLAN = Request("block_mix", several("resnet-14", size=8), OPTIONS).plan_or_minimum(0.6)
BATCHES = [torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(n)) for n in range(3)]


def trained():
    network = npas.build(PLAN.networks[0].architecture, seed=3)
    npas.recalibrate(network, BATCHES)
    return network.eval()


def distance(model, network):
    with torch.no_grad():
        return float((model.eval()(BATCHES[0]) - network(BATCHES[0])).square().mean())


def test_fits_and_measured_norms_bring_outputs_nearer():
    found = {}
    for fit in ("aligned", "activations", "weights"):
        model = npas.convert(trained(), PLAN, BATCHES, fit=fit)
        assert num_stored(model) == PLAN.ledger.total
        found[fit] = distance(model, trained())
    fresh = npas.share(trained(), PLAN)
    npas.recalibrate(fresh, BATCHES)
    assert max(found.values()) < distance(fresh, trained())
    assert len(set(found.values())) == 3
    assert found["aligned"] < distance(npas.convert(trained(), PLAN), trained())
    assert found["activations"] == distance(npas.convert(trained(), PLAN, BATCHES), trained())


def test_enough_room_loses_nothing():
    network = npas.build("resnet-14", seed=3).eval()
    plan = npas.plan("resnet-14", budget={"fraction": 1.0}, method="dense")
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        wanted = network(x)
        assert torch.equal(npas.convert(network, plan).eval()(x), wanted)


def test_activations_want_batches():
    with pytest.raises(InvalidSpecError, match="give batches, or another fit"):
        npas.convert(trained(), PLAN, fit="activations")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(value):
    network = trained()
    with torch.no_grad():
        network.stages[0][0].conv1.weight[0] = value
    with pytest.raises(InvalidSpecError, match=r"stages\.0\.0\.conv1\.weight holds infinite"):
        npas.convert(network, PLAN)


@pytest.mark.parametrize(
    ("batches", "fit", "match"),
    [
        (BATCHES, "nearest", "fit 'nearest'"),
        (BATCHES[0], "aligned", "batches is a Tensor"),
    ],
)
def test_what_convert_does_not_know_is_refused(batches, fit, match):
    with pytest.raises(InvalidSpecError, match=match):
        npas.convert(trained(), PLAN, batches, fit=fit)


def with_nan(batch):
    batch = batch.clone()
    batch[3, 0, 1, 1] = float("nan")
    return batch


WRONG = {
    "a NaN": (lambda: [BATCHES[0], with_nan(BATCHES[1])], DataError, "infinite numbers, or NaN"),
    "nothing": (lambda: [BATCHES[0], BATCHES[1][:0]], DataError, r"\(0, 3, 8, 8\) is empty"),
    "labels": (lambda: [(BATCHES[0], 3)], DataError, "a batch is a tuple"),
    "another width": (lambda: [BATCHES[0], BATCHES[1][:, :2]], RuntimeError, "3 channels"),
    "huge": (lambda: [BATCHES[0], BATCHES[1] * 1e37], DataError, "came out infinite or NaN"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_fails_leaves_the_module_as_it_was(kind):
    make, error, match = WRONG[kind]
    network = trained()
    parameters = [(name, id(each)) for name, each in network.named_parameters()]
    before = {name: each.clone() for name, each in network.state_dict().items()}
    for act in (
        lambda: npas.convert(network, PLAN, make()),
        lambda: npas.recalibrate(network, make()),
    ):
        with pytest.raises(error, match=match):
            act()
        assert [(name, id(each)) for name, each in network.named_parameters()] == parameters
        assert all(torch.equal(each, before[n]) for n, each in network.state_dict().items())
    model = npas.convert(network, PLAN, BATCHES)
    assert model.network(PLAN.networks[0].name) is network


class Branching(nn.Module):
    """Cannot be traced: what it does depends on numbers."""

    def __init__(self, is_traced):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6)) for _ in range(3)
        )
        self.is_traced = is_traced

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x if self.is_traced or x.sum() > 0 else x + 1


def test_it_says_how_many_blocks_were_aligned():
    found = {}
    for is_traced in (True, False):
        torch.manual_seed(0)
        module = Branching(is_traced)
        plan = npas.plan(module, budget={"fraction": 0.6}, method="ssn")
        found[is_traced] = npas.convert(module, plan).origin.aligned
        module = Branching(is_traced)
        assert npas.convert(module, plan, fit="weights").origin.aligned == 0
    assert found[True] > found[False] == 0


def test_frozen_layers_are_fitted_to_activations_and_stay_frozen():
    module = Branching(is_traced=True)
    plan = npas.plan(module, budget={"fraction": 0.6}, method="ssn")
    module.requires_grad_(False)
    model = npas.convert(module, plan, [torch.randn(16, 6)], fit="activations")
    assert not any(each.requires_grad for each in model.parameters())
