"""`npas.train.finite`."""

import torch
from npas.train.finite import Finiteness, not_finite
from torch import nn


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
