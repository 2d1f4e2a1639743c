"""What is given to `npas.plan`: an example that is run several times, weights of any scale."""

import npas
import pytest
import torch
from npas.errors import InvalidSpecError
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


@pytest.mark.parametrize("scale", [1e38, 1e-38])
def test_weights_of_any_scale_are_planned(scale):
    module = Net().layers
    module[0].weight.data.mul_(scale)
    layers = npas.plan(module, method="dense").networks[0].architecture.module.layers
    assert layers[0].deviation is None


@pytest.mark.parametrize("given", [Net, {"a": Net(), "b": Net}, {"a": Net}])
def test_class_in_the_place_of_a_module_is_told(given, tmp_path):
    plan = npas.plan(Net(), budget={"fraction": 0.6})
    npas.save(npas.share(Net(), plan), tmp_path / "net.safetensors")
    calls = (
        lambda: npas.plan(given, budget={"fraction": 0.6}),
        lambda: npas.share(given, plan),
        lambda: npas.load(tmp_path / "net.safetensors", into=given),
    )
    for call in calls:
        with pytest.raises(InvalidSpecError, match=r"Net is a class: .* instance, .*Net\(\)"):
            call()
