"""`npas.train.finite`."""

import math

import npas
import torch
from npas.train.finite import Finiteness, not_finite
from torch import nn


class Masked(nn.Module):
    """Attends to what came before."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.register_buffer("mask", torch.full((8, 8), -math.inf).triu(1))

    def forward(self, x):
        scores = self.query(x) @ self.key(x).mT / 4 + self.mask
        return scores.softmax(-1) @ self.value(x)


def test_what_is_not_finite_is_named() -> None:
    tensors = {
        "good": torch.ones(2),
        "infinite": torch.tensor([1.0, -torch.inf]),
        "whole": torch.ones(2, dtype=torch.long),
        "none": torch.full((1,), torch.nan, dtype=torch.bfloat16),
    }
    assert not_finite(tensors) == ["infinite", "none"]
    assert not_finite({"whole": tensors["whole"]}) == []


def test_parameters_have_to_be_finite_from_the_start() -> None:
    module = nn.BatchNorm1d(2)
    with torch.no_grad():
        module.weight.fill_(torch.inf)
        module.get_buffer("running_mean").fill_(torch.inf)
    finiteness = Finiteness(module, module.state_dict())
    assert finiteness.spoiled(module.state_dict()) == ["weight"]
    module.get_buffer("running_var").fill_(torch.nan)
    assert finiteness.spoiled(module.state_dict()) == ["weight", "running_var"]


def test_network_with_a_mask_is_fitted_and_saved_in_bytes(tmp_path):
    x = torch.randn(32, 8, 16, generator=torch.Generator().manual_seed(1))
    plan = npas.plan(Masked(), budget={"bytes": 3000}, example=(x[:2],))
    shared = npas.share(Masked(), plan)
    npas.fit(shared, (x, x), loss=nn.functional.mse_loss, epochs=2, batch_size=8, progress=None)
    npas.save(shared, tmp_path / "model")
    assert (tmp_path / "model").stat().st_size <= 3000
    loaded = npas.load(tmp_path / "model", into=Masked())
    assert torch.equal(loaded.network("main").mask, Masked().mask)
