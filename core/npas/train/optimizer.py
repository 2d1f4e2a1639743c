"""The optimiser over a model's parameters, those that must not decay apart; its memory by name."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from npas.sharing.group import SharedGroup
from npas.spec import TrainingSpec
from npas.torch_internals import NORM_WITH_STATISTICS
from npas.train.muon import MOMENTUM, MuonAndAdamW, matrices_of

_NORMS = (NORM_WITH_STATISTICS, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def parameter_groups(model: nn.Module, spec: TrainingSpec) -> list[dict[str, Any]]:
    """Split the trainable parameters by decay and by learning rate.

    Coefficients never decay: a decayed mixture shrinks templates that it does not use. Norms and
    biases decay only if `norm_decay` says so.

    Args:
        model: its parameters are counted once each, wherever they are used.
        spec: what was asked for.

    Returns:
        groups for an optimiser; `rate_factor` is what `set_rate` multiplies the rate by.
    """
    small = _norms_and_biases(model)
    banks = _templates(model)
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            exempt = "coefficients" in name or (not spec.norm_decay and name in small)
            decay = 0.0 if exempt else spec.weight_decay
            factor = spec.bank_rate if parameter in banks else 1.0
            found.setdefault((decay, factor), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": decay,
            "lr": factor * spec.learning_rate,
            "rate_factor": factor,
        }
        for (decay, factor), parameters in sorted(found.items(), key=lambda each: -each[0][0])
    ]


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step, for each group by its factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_factor"]


def rate_of(optimizer: torch.optim.Optimizer) -> float:
    """Return the learning rate that `set_rate` was last given, of banks alone up to rounding."""
    group = min(optimizer.param_groups, key=lambda each: abs(each["rate_factor"] - 1))
    return float(group["lr"] / group["rate_factor"])


def optimizer(model: nn.Module, spec: TrainingSpec) -> torch.optim.Optimizer:
    """Return the optimiser. Its learning rate is set before each step, see `schedule`.

    Adam is Kingma & Ba, 2015, whose decay goes through the gradient; AdamW is Loshchilov &
    Hutter, 2019, whose decay does not. `momentum` is Adam's beta 1; its beta 2 is 0.999. For Muon
    see `npas.train.muon`.
    """
    groups = parameter_groups(model, spec)
    if spec.optimizer == "muon":
        return MuonAndAdamW(
            groups,
            matrices_of(model),
            lr=spec.learning_rate,
            momentum=spec.momentum,
            nesterov=spec.nesterov,
        )
    # Fused: one pass over the parameters; bit-equal from run to run, see the tests.
    if spec.optimizer == "sgd":
        return torch.optim.SGD(
            groups,
            lr=spec.learning_rate,
            momentum=spec.momentum,
            nesterov=spec.nesterov,
            fused=True,
        )
    kind = torch.optim.Adam if spec.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=spec.learning_rate, betas=(spec.momentum, 0.999), fused=True)


def take_step(
    optimizer: torch.optim.Optimizer, model: nn.Module, *, some_sit_out: bool = False
) -> None:
    """Move the parameters that have a gradient; the others and their momenta stay as they are.

    Coefficients of many layers are rows of one parameter. Where networks sit out, rows without a
    gradient stay as they are, too.

    Args:
        optimizer: over the model's parameters.
        model: has gradients.
        some_sit_out: whether there are networks that take no part in this step.
    """
    _remember_from_zero(optimizer)
    before = _resting(optimizer, model) if some_sit_out else []
    optimizer.step()
    with torch.no_grad():
        for tensor, rests, old in before:
            tensor.copy_(torch.where(rests, old, tensor))


def optimizer_state(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return the optimiser's state of each parameter, as "slot/parameter name".

    Slots are torch's own names: momentum_buffer of SGD and Muon; exp_avg, exp_avg_sq and step.
    """
    return {
        f"{slot}/{name}": value
        for name, parameter in model.named_parameters()
        for slot, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]
) -> None:
    """Give the optimiser what `optimizer_state` returned; of other names nothing is taken."""
    parameters = dict(model.named_parameters())
    for place, tensor in tensors.items():
        slot, _, name = place.partition("/")
        if name in parameters:
            parameter = parameters[name]
            optimizer.state[parameter][slot] = tensor.to(parameter.device, copy=True)


def _remember_from_zero(optimizer: torch.optim.Optimizer) -> None:
    """Give parameters that SGD moves for the first time, after others, a momentum of zeros.

    Parameters may begin in different steps, but SGD in one pass takes their momenta all as given
    or all as new. Zeros are what a new momentum begins with.
    """
    for group in optimizer.param_groups:
        if not group.get("momentum"):
            continue
        moved = [parameter for parameter in group["params"] if parameter.grad is not None]
        new = [each for each in moved if MOMENTUM not in optimizer.state.get(each, {})]
        for each in new if len(new) < len(moved) else ():
            optimizer.state[each][MOMENTUM] = torch.zeros_like(each)


def _resting(
    optimizer: torch.optim.Optimizer, model: nn.Module
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return coefficients and their momenta, which of the rows rest, and all that is in them."""
    found = []
    for name, parameter in model.named_parameters():
        if "coefficients" in name and parameter.grad is not None and parameter.dim() > 1:
            rests = (parameter.grad == 0).all(dim=1, keepdim=True)
            momenta = optimizer.state.get(parameter, {}).values()
            held = [parameter.detach(), *(m for m in momenta if m.shape == parameter.shape)]
            found += [(each, rests, each.clone()) for each in held]
    return found


def _templates(model: nn.Module) -> set[nn.Parameter]:
    groups = (each for each in model.modules() if isinstance(each, SharedGroup))
    return {templates for group in groups for templates in group.templates}


def _norms_and_biases(model: nn.Module) -> set[str]:
    names = set()
    for prefix, module in model.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            if name == "bias" or isinstance(module, _NORMS):
                names.add(f"{prefix}.{name}" if prefix else name)
    return names
