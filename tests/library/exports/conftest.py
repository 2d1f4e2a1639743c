"""Small networks that share as the kinds do that tools tell apart, and their exports."""

import functools

import npas
import pytest
import torch
from torch import nn

CONV = [{"kind": "conv", "channels": 32}, {"kind": "norm"}, {"kind": "activation"}]
LINEAR = [{"kind": "linear", "outputs": 96}, {"kind": "activation"}]
HEADS = {
    "conv": [*CONV * 7, {"kind": "pool", "function": "global"}, {"kind": "linear"}],
    "linear": [
        {"kind": "conv", "channels": 4},
        {"kind": "flatten"},
        *LINEAR * 6,
        {"kind": "linear"},
    ],
}
SIZES = {"input_size": 8, "input_channels": 3, "num_classes": 10}

KINDS = {"tied": ("conv", 10_864), "mix": ("conv", 20_086), "linear": ("linear", None)}
"""Layers, and the budget: of one template, of two, of as few as can be."""


def declared(layers):
    return {"name": "declared", "layers": layers, **SIZES}


def moved(model):
    """Return a model whose norms are as they are after a training: each another."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                drawn = torch.rand(tensor.shape, generator=generator)
                is_centred = tensor is module.bias or tensor is module.running_mean
                tensor.data.copy_(drawn + (-0.5 if is_centred else 0.5))
    return model.eval()


def made_network(kind):
    """Return a shared network of a kind, in evaluation mode."""
    layers, budget = KINDS[kind]
    spec = declared(HEADS[layers])
    try:
        plan = npas.plan(spec, budget=budget or 1, method="soft_sharing")
    except npas.errors.InfeasibleBudgetError as error:
        plan = npas.plan(spec, budget=error.minimum, method="soft_sharing")
    return moved(npas.share(npas.build(spec, seed=0), plan))


@pytest.fixture(scope="session")
def network():
    """Return a function of a kind that gives a network of it."""
    return made_network


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Return a function of a kind and options that gives the file, written once."""
    folder = tmp_path_factory.mktemp("exports")

    @functools.cache
    def made(kind, to="onnx", **options):
        ending = {"onnx": "onnx", "torch.export": "pt2"}[to]
        name = "-".join([kind, *options]) + f".{ending}"
        return npas.export(made_network(kind), folder / name, to, **options)

    return made
