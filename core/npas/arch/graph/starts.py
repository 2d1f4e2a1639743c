"""How the parameters of a declared module begin, where that is not how torch begins them."""

import math
from typing import Any

from torch import Tensor, nn

from npas.arch.graph.recording import Recorded
from npas.arch.graph.stateful import STATEFUL
from npas.plans import rounded

_NEAR = 0.05
"""Relative difference to the deviation of torch's own start at which nothing is said."""
_TORCH_STARTS_ITSELF = ("MultiheadAttention", "LSTM", "GRU")


def said(module: nn.Module, node: Recorded) -> dict[str, Any]:
    """Return the field `start` of a node, or nothing."""
    if node.op == "parameter" and node.settings:
        assert node.name is not None
        return {"start": {"value": _start(module.get_parameter(node.name))}}
    if node.op not in STATEFUL or node.op in _TORCH_STARTS_ITSELF:
        return {}
    assert node.name is not None
    owner = module.get_submodule(node.name)
    found = {}
    own = dict(owner.named_parameters(recurse=False))
    for name in ("weight", "bias"):
        if (parameter := own.get(name)) is not None:
            start = _start(parameter)
            if not _is_usual(name, own, start):
                found[name] = start
    return {"start": found} if found else {}


def _start(parameter: Tensor) -> list[float]:
    """Return mean and deviation that a parameter seems to be drawn with."""
    values = parameter.detach().double()
    mean = float(values.mean())
    deviation = float(values.std(correction=0))
    if deviation <= 1e-7 * max(abs(mean), 1e-7):
        return [rounded(mean), 0.0]
    two_digits = float(f"{deviation:.2g}")
    return [rounded(mean) if abs(mean) > deviation / 2 else 0.0, two_digits]


def _is_usual(name: str, own: dict[str, nn.Parameter], start: list[float]) -> bool:
    """Return whether torch's layers start like that by themselves."""
    mean, deviation = start
    weight = own["weight"]
    if weight.dim() < 2:
        return start == [1.0 if name == "weight" else 0.0, 0.0]
    fan_in = math.prod(weight.shape[1:])
    usual = 1 / math.sqrt(3 * fan_in)
    room = _NEAR + 2 / math.sqrt(own[name].numel())
    return mean == 0.0 and abs(deviation / usual - 1) <= room
