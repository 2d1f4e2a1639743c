"""A module of one's own goes to the service as a graph, and comes back trained."""

import npas
import torch
from npas_client.client import Client
from torch import nn


class Scale(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width, 1, 1))

    def forward(self, x):
        return self.gamma * x


class Squeeze(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.down, self.up = nn.Linear(width, width // 4), nn.Linear(width // 4, width)

    def forward(self, x):
        weights = self.up(torch.relu(self.down(x.mean((2, 3))))).sigmoid()
        return x * weights[:, :, None, None]


class Split(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width // 2, width // 2, 3, padding=1) for _ in "ab")

    def forward(self, x):
        parts = zip(self.convs, x.chunk(2, dim=1), strict=True)
        return x + torch.cat([conv(part) for conv, part in parts], dim=1)


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.blocks = nn.Sequential(Split(16), Scale(16), Squeeze(16), nn.BatchNorm2d(16))
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        return self.head(self.blocks(torch.relu(self.stem(x))).amax((2, 3)))


def test_module_is_declared_planned_trained_and_fetched(service, tmp_path):
    module = Own()
    architecture = npas.declare(module, torch.randn(2, 1, 8, 8))
    request = {
        "architecture": architecture.model_dump(mode="json", exclude_defaults=True),
        "dataset": {"name": "digits", "train_images": 64, "test_images": 20},
        "budget": {"fraction": 0.7},
        "training": {"epochs": 1, "batch_size": 32},
    }
    with Client(service.url) as client:
        plan = client.preview(request)
        assert plan.networks[0].architecture == architecture
        job = client.submit(request)
        assert client.plan(job.id) == plan
        ended = client.wait(job.id, timeout=600)
        assert ended.state == "succeeded", ended.reason
        path = client.download(job.id, "model.safetensors", tmp_path / "model.safetensors")
    network = npas.load(path)
    assert network(torch.randn(3, 1, 8, 8)).shape == (3, 10)
    names = " ".join(network.state_dict())
    assert all(name in names for name in ("blocks.1.gamma", "head.bias", "blocks.3.running_mean"))
