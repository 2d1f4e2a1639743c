"""A module is run on an example several times, and each run finds what the first one found."""

import npas
import pytest
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(6, 6) for _ in range(3)))
        self.register_buffer("mean", torch.zeros(6))


class Writing(Net):
    def forward(self, x, *, more):
        x -= 1
        more["y"].mul_(2)
        return self.layers(x + more["y"])


class Reassigning(Net):
    def forward(self, x, *, more):
        self.mean = 0.9 * self.mean + 0.1 * (x + more["y"]).mean(0)
        return self.layers(x - self.mean)


@pytest.mark.parametrize("kind", [Writing, Reassigning])
def test_runs_leave_example_and_buffers_as_they_were(kind):
    module, x, y = kind(), torch.randn(4, 6), torch.randn(4, 6)
    example, mean = {"x": x.clone(), "more": {"y": y.clone()}}, module.mean
    plan = npas.plan(module, budget={"fraction": 0.6}, example=example)
    assert len(plan.groups) == 1
    assert torch.equal(example["x"], x)
    assert torch.equal(example["more"]["y"], y)
    assert module.mean is mean
    assert torch.equal(mean, torch.zeros(6))
