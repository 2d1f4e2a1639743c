"""What a network's own initialiser would draw is known without drawing it."""

import math

import npas
import numpy as np
import pytest
import torch
from npas import arch, registry
from npas.arch.deviation import CONSTANT, Deviations, let_modes_see_truncated_normal
from npas.errors import InvalidSpecError
from npas.spec import BudgetSpec
from torch import nn

INITIALISERS = [
    ("kaiming_normal_", {}),
    ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "relu"}),
    ("kaiming_uniform_", {"a": 5**0.5}),
    ("xavier_normal_", {}),
    ("xavier_uniform_", {"gain": 2.0}),
    ("normal_", {"mean": 1.0, "std": 0.3}),
    ("uniform_", {"a": -2.0, "b": 0.5}),
    ("trunc_normal_", {"std": 0.02}),
    ("trunc_normal_", {"std": 1.5, "a": -1.0, "b": 2.0}),
    ("orthogonal_", {}),
    ("sparse_", {"sparsity": 0.3, "std": 0.5}),
]


@pytest.mark.parametrize(("name", "options"), INITIALISERS)
def test_deviation_of_an_initialiser_is_that_of_what_it_draws(name, options):
    weight = nn.Parameter(torch.empty(200, 300))
    noted = Deviations()
    noted.note(name, (weight,), options)
    torch.manual_seed(0)
    getattr(nn.init, name)(weight, **options)
    assert noted.of(weight) == pytest.approx(weight.std().item(), rel=0.02)


@pytest.mark.parametrize("ends", [(-2.0, 2.0), (-1.0, 3.0), (-100.0, 100.0)])
def test_uniform_tensor_made_a_normal_that_is_cut_has_its_deviation(ends):
    low, high = (math.erf(end / math.sqrt(2)) for end in ends)
    weight, noted = torch.empty(200, 300), Deviations()
    torch.manual_seed(0)
    for name, arguments in (
        ("uniform_", (low, high)),
        ("erfinv_", ()),
        ("mul_", (0.5 * math.sqrt(2),)),
        ("div_", (3,)),
    ):
        getattr(weight, name)(*arguments)
        noted.note(name, (weight, *arguments), {})
    assert noted.of(weight) == pytest.approx(weight.std().item(), rel=0.02)


@pytest.mark.parametrize("name", sorted(CONSTANT))
def test_initialiser_that_draws_nothing_takes_back_what_was_known(name):
    weight = nn.Parameter(torch.empty(4, 4, 3))
    noted = Deviations()
    noted.note("normal_", (weight,), {})
    noted.note(name, (weight,), {})
    assert noted.of(weight) is None


@pytest.mark.parametrize(
    "name",
    ["vit-6-64-4", "torchvision:swin_t", "torchvision:vit_b_16", "wrn-16-1", "timm:test_vit"],
)
def test_layers_of_a_table_start_at_the_deviation_that_their_network_draws(name):
    (network,) = npas.plan(name, budget=BudgetSpec(fraction=1.0), method="dense").networks
    drawn = dict(npas.build(network.architecture, seed=0).named_parameters())
    layers = arch.layer_table([network]).layers
    large = [  # torchvision's ViT starts its classifier with zeros
        layer
        for layer in layers
        if drawn[layer.name].numel() > 2000 and drawn[layer.name].std() > 0
    ]
    assert large
    for layer in large:
        weight = drawn[layer.name]
        kaiming = (2 / weight[0].numel()) ** 0.5
        wanted = layer.deviation or kaiming
        assert weight.std().item() == pytest.approx(wanted, rel=0.1), layer.name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit-6-64-4", "torchvision:swin_t"])
@pytest.mark.parametrize("method", ["block_mix", "superweights", "ssn", "random"])
def test_shared_transformer_starts_as_its_own_network_would(name, method):
    plan = npas.plan(name, budget=BudgetSpec(fraction=0.5), method=method)
    model = npas.share(npas.build(plan.networks[0].architecture, seed=0), plan, seed=0)
    slots = [slot for group in plan.groups for slot in group.slots]
    assert {slot.deviation for slot in slots} == {0.02}
    weights = torch.cat([w.reshape(-1) for g in model.groups.values() for w in g()])
    assert weights.std().item() == pytest.approx(0.02, rel=0.1)


def test_modes_see_truncated_normal_though_another_library_wrapped_it(monkeypatch):
    def wrapped(tensor, **_):
        return tensor.zero_()

    wrapped.__wrapped__ = nn.init.normal_  # as functools.wraps leaves it
    monkeypatch.setattr(nn.init, "trunc_normal_", wrapped)
    let_modes_see_truncated_normal()
    seen = nn.init.trunc_normal_
    assert seen is not wrapped
    let_modes_see_truncated_normal()
    assert nn.init.trunc_normal_ is seen


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("method", [n for n in registry.names("npas.methods") if n != "auto"])
def test_banks_are_drawn_the_same_whatever_torchs_default_type_is(method, default):
    fraction = {"dense": 1.0, "soft_sharing": 0.75}.get(method, 0.3)
    plan = npas.plan("wrn-16-1", budget=BudgetSpec(fraction=fraction), method=method)
    architecture = plan.networks[0].architecture
    wanted = npas.share(npas.build(architecture, seed=0), plan, seed=3).state_dict()
    network = npas.build(architecture, seed=0)
    torch.set_default_dtype(default)
    try:
        found = npas.share(network, plan, seed=3).state_dict()
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


def test_seed_is_an_integer_of_any_library():
    plan = npas.plan("resnet-8", budget=BudgetSpec(fraction=0.5))
    architecture = plan.networks[0].architecture
    wanted = npas.share(npas.build(architecture, seed=0), plan, seed=3).state_dict()
    found = npas.share(npas.build(architecture, seed=0), plan, seed=np.int64(3)).state_dict()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
    with pytest.raises(InvalidSpecError, match=r"seed is 1\.5: give an integer"):
        npas.share(npas.build(architecture), plan, seed=1.5)
