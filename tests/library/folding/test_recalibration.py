"""Statistics of normalisations are those of the batches that are given, and nothing else moves."""

import npas
import pytest
import torch
from npas.errors import DataError, InvalidSpecError
from torch import nn


def network():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten())
    layers[1].running_mean.fill_(100)
    layers[1].num_batches_tracked.fill_(7)
    return layers


def test_statistics_are_the_mean_over_the_batches():
    model = network()
    batches = [torch.randn(size, 3, 5, 5) + shift for size, shift in ((8, 0.0), (4, 3.0))]
    npas.recalibrate(model, iter(batches))
    with torch.no_grad():
        inner = [model[0](batch).transpose(0, 1).flatten(1) for batch in batches]
    mean = sum(each.mean(dim=1) for each in inner) / 2
    variance = sum(each.var(dim=1) for each in inner) / 2
    torch.testing.assert_close(model[1].running_mean, mean)
    torch.testing.assert_close(model[1].running_var, variance)


@pytest.mark.parametrize("mode", [True, False])
def test_nothing_else_moves(mode):
    model = network().train(mode)
    model[1].eval()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    random = torch.get_rng_state()
    batch = torch.ones(4, 3, 5, 5)
    npas.recalibrate(model, [batch])
    assert [module.training for module in model] == [mode, False, mode, mode]
    assert model[1].momentum == 0.1
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_shared_networks_are_recalibrated_as_their_plain_twins_are():
    plan = npas.plan("wrn-16-1", method="soft_sharing", templates=1)
    model = npas.share(npas.build("wrn-16-1", seed=0), plan)
    plain = model.materialise()["main"]
    batch = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for each in (model, plain):
        npas.recalibrate(each, [batch])
    assert torch.equal(model.network("main").norm.running_mean, plain.norm.running_mean)


def test_no_batch_is_refused_and_changes_nothing():
    model = network()
    with pytest.raises(DataError, match="without a batch"):
        npas.recalibrate(model, [])
    assert model[1].running_mean.tolist() == [100] * 4
    assert model[1].num_batches_tracked == 7
    assert model.training


@pytest.mark.parametrize(
    ("batches", "error", "told"),
    [
        ([(torch.ones(4, 3, 5, 5), torch.ones(4))], DataError, "is a tuple.*without labels"),
        (torch.ones(4, 3, 5, 5), InvalidSpecError, "batches is a Tensor.*several"),
        (3, InvalidSpecError, "batches is a int.*several"),
    ],
)
def test_batches_that_are_not_tensors_are_refused(batches, error, told):
    model = network()
    with pytest.raises(error, match=told):
        npas.recalibrate(model, batches)
    assert model[1].running_mean.tolist() == [100] * 4


def test_what_is_no_network_is_refused():
    with pytest.raises(InvalidSpecError, match="the model is a str, not a module"):
        npas.recalibrate("model.safetensors", [torch.ones(4, 3, 5, 5)])
