"""SGD over a model's parameters, those that must not decay apart."""

from typing import Any

import torch
from torch import nn

from npas.spec import TrainingSpec

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def parameter_groups(model: nn.Module, spec: TrainingSpec) -> list[dict[str, Any]]:
    """Split the trainable parameters into those that decay and those that do not.

    Coefficients never decay: a decayed mixture shrinks templates that it does not use. Norms and
    biases decay only if `norm_decay` says so.

    Args:
        model: its parameters are counted once each, wherever they are used.
        spec: what was asked for.
    """
    small = _norms_and_biases(model)
    decaying: list[nn.Parameter] = []
    still: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            exempt = "coefficients" in name or (not spec.norm_decay and name in small)
            (still if exempt else decaying).append(parameter)
    groups = [
        {"params": decaying, "weight_decay": spec.weight_decay},
        {"params": still, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def sgd(model: nn.Module, spec: TrainingSpec) -> torch.optim.SGD:
    """Return the optimiser. Its learning rate is set before each step, see `schedule`."""
    return torch.optim.SGD(
        parameter_groups(model, spec),
        lr=spec.learning_rate,
        momentum=spec.momentum,
        nesterov=spec.nesterov,
        fused=True,  # one pass over the parameters; bit-equal from run to run, see the tests
    )


def _norms_and_biases(model: nn.Module) -> set[str]:
    names = set()
    for prefix, module in model.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            if name == "bias" or isinstance(module, _NORMS):
                names.add(f"{prefix}.{name}" if prefix else name)
    return names
