"""The networks that are exported: kinds of sharing that tools tell apart, and ten of all sorts."""

from typing import Any

import npas
import torch
from npas.errors import InfeasibleBudgetError
from npas.sharing.model import SharedModel
from torch import nn

_SIZES = {"input_size": 32, "input_channels": 3, "num_classes": 10}
_CONV: list[dict[str, Any]] = [
    {"kind": "conv", "channels": 128},
    {"kind": "norm"},
    {"kind": "activation"},
]
_LINEAR: list[dict[str, Any]] = [{"kind": "linear", "outputs": 384}, {"kind": "activation"}]
_END = {"kind": "linear"}
_POOL = {"kind": "pool", "function": "global"}
_SMALLER = {"kind": "conv", "channels": 128, "stride": 2}

FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "tied": ("tied", {}),
    "tied, norms apart": ("tied", {"norms": "apart"}),
    "mix": ("mix", {}),
    "mix, guard": ("mix", {"guard": True}),
    "linear": ("linear", {}),
}
"""Kinds of sharing, and options of the export."""

_KINDS: dict[str, tuple[list[dict[str, Any]], float | None]] = {
    "tied": ([_SMALLER, *_CONV * 12, _POOL, _END], None),
    "mix": ([_SMALLER, *_CONV * 12, _POOL, _END], 0.2),
    "linear": ([_SMALLER, _POOL, *_LINEAR * 13, _END], None),
}

TEN: list[tuple[str, str, float]] = [
    ("resnet-20", "soft_sharing", 0.6),
    ("resnet-20", "superweights", 0.4),
    ("resnet-32", "ssn", 0.4),
    ("resnet-56", "superweights", 0.3),
    ("wrn-16-2", "block_mix", 0.5),
    ("wrn-16-2", "uniform", 0.3),
    ("wrn-16-4", "soft_sharing", 0.4),
    ("wrn-28-2", "soft_sharing", 0.25),
    ("vit-6-96-4", "soft_sharing", 0.4),
    ("densenet-40-12", "superweights", 0.5),
]
"""Architecture, method, and budget as a part of the dense size."""


def shared(architecture: Any, method: str, fraction: float | None) -> SharedModel:
    """Return a network that shares, its norms moved as a training moves them.

    Args:
        architecture: by name, or as JSON.
        method: of sharing.
        fraction: of the dense size; None: the smallest budget that the method has.
    """
    try:
        budget = 1 if fraction is None else {"fraction": fraction}
        plan = npas.plan(architecture, budget=budget, method=method)
    except InfeasibleBudgetError as error:
        plan = npas.plan(architecture, budget=error.minimum, method=method)
    net = npas.share(npas.build(architecture, seed=0), plan)
    moved(net)
    return net.eval()


def moved(net: nn.Module) -> None:
    """Give all batch normalisations statistics, factors and terms of their own."""
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                drawn = torch.rand(tensor.shape, generator=generator)
                is_centred = tensor is module.bias or tensor is module.running_mean
                tensor.data.copy_(drawn + (-0.5 if is_centred else 0.5))


def kind(name: str) -> SharedModel:
    """Return a network that shares in one way alone."""
    layers, fraction = _KINDS[name]
    spec = {"name": "declared", "layers": layers, **_SIZES}
    return shared(spec, "soft_sharing", fraction)
