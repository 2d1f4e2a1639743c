"""Banks fitted to what layers put out: nearer to it than banks fitted to weights."""

import npas
import pytest
import torch
from npas.sharing.activations import fit_to_outputs, input_products
from npas.testing.networks import Request, several
from torch import nn
from torch.nn import functional as F

DRAW = torch.Generator()


def randn(*shape):
    return torch.randn(*shape, generator=DRAW.manual_seed(sum(shape)))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Conv2d(3, 4, (3, 2), stride=2, dilation=2, bias=False),
        nn.Conv2d(3, 4, 3, padding="same"),
        nn.Conv2d(3, 4, 3, padding="valid"),
    ],
)
def test_rows_of_a_convolution_are_what_it_multiplies(layer):
    """`||W C^(1/2)||^2` is the mean square of what it puts out, without its bias."""
    x, network = randn(5, 3, 9, 8), nn.Sequential(layer)
    (found,) = input_products({"n": network}, {("n", "0.weight")}, [x[:3], x[3:]]).values()
    flat = layer.weight.detach().reshape(4, -1)
    bias = 0 if layer.bias is None else layer.bias.detach()[:, None, None]
    wanted = (layer(x).detach() - bias).square().mean((0, 2, 3))
    torch.testing.assert_close((flat @ found * flat).sum(1), wanted)


def test_rows_of_a_linear_layer_are_steps_and_the_mode_stays():
    network = nn.Sequential(nn.Dropout(0.9), nn.Linear(4, 2)).train()
    x = randn(3, 5, 4)
    found = input_products({"n": network}, {("n", "1.weight")}, [x])
    rows = x.reshape(-1, 4)
    torch.testing.assert_close(found["n", "1.weight"], rows.T @ rows / len(rows))
    assert network.training
    assert network[0].training


def test_what_cannot_be_watched_is_left_out():
    network = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.ConvTranspose2d(4, 4, 1))
    wanted = {("n", "0.weight"), ("n", "1.weight")}
    assert input_products({"n": network}, wanted, [randn(1, 4, 5, 5)]) == {}


def error_of(weights, banks, products):
    found = 0.0
    for wanted, made, inner in zip(weights, banks.weights(), products, strict=True):
        flat, off = wanted.reshape(len(wanted), -1), (made - wanted).reshape(len(wanted), -1)
        found += float(((off @ inner) * off).sum() / ((flat @ inner) * flat).sum())
    return found


@pytest.mark.parametrize("method", ["soft_sharing", "block_mix", "ssn"])
def test_outputs_are_nearer_than_after_a_fit_to_weights(method):
    """Of groups whose layers have more to say than their banks can."""
    plan = Request(method, several("resnet-14", size=8), {}).plan_or_minimum(0.4)
    group = max(plan.groups, key=lambda each: len(each.slots))
    banks = npas.share(npas.build(plan.networks[0].architecture), plan).groups[group.name]
    weights = [randn(*slot.shape, 1 + n)[..., n] for n, slot in enumerate(group.slots)]
    mixes = [
        randn(3 * w[0].numel(), w[0].numel()) * torch.logspace(0, -2, w[0].numel())
        for w in weights
    ]
    products = [mix.T @ mix / len(mix) for mix in mixes]
    banks.fit(weights)
    before = error_of(weights, banks, products)
    fit_to_outputs(banks, weights, products)
    assert error_of(weights, banks, products) < 0.98 * before
    assert all(p.grad is None for p in banks.parameters())


def test_without_products_a_truncated_svd_is_not_left():
    plan = Request("soft_sharing", several("resnet-14", size=8), {}).plan_or_minimum(0.4)
    group = max(plan.groups, key=lambda each: len(each.slots))
    banks = npas.share(npas.build(plan.networks[0].architecture), plan).groups[group.name]
    weights = [
        F.normalize(randn(*slot.shape, 1 + n)[..., n].flatten(), dim=0).view(slot.shape)
        for n, slot in enumerate(group.slots)
    ]
    banks.fit(weights)
    before = [weight.clone() for weight in banks.weights()]
    fit_to_outputs(banks, weights, [None] * len(weights))
    for old, new in zip(before, banks.weights(), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-3, atol=1e-4)
