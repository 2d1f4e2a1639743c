"""A trained network under a plan, in Python."""

import npas
import pytest
import torch
from npas.errors import InvalidSpecError
from npas.testing.counting import num_stored
from npas.testing.networks import Request, several

PLAN = Request("block_mix", several("resnet-14", size=8), {"search": False}).plan_or_minimum(0.6)
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
    [(BATCHES, "nearest", "fit 'nearest'"), (BATCHES[0], "aligned", "batches is a Tensor")],
)
def test_what_convert_does_not_know_is_refused(batches, fit, match):
    with pytest.raises(InvalidSpecError, match=match):
        npas.convert(trained(), PLAN, batches, fit=fit)
