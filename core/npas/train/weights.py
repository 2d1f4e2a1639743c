"""The weights of a model by name: read, kept, and put back."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from npas.errors import CheckpointError


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers that a state dict holds, once each."""
    listed = model.state_dict(keep_vars=True)
    named: dict[str, Tensor] = dict(model.named_parameters())
    named |= {n: b for n, b in model.named_buffers() if n in listed}
    return {name: tensor.detach() for name, tensor in named.items()}


def put_into(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a model the weights that `weights_of` returned.

    Raises:
        CheckpointError: they are of another model.
    """
    weights = weights_of(model)
    if weights.keys() != tensors.keys() or any(
        weights[name].shape != tensor.shape for name, tensor in tensors.items()
    ):
        raise CheckpointError("this is a state of another network or plan; start the run anew")
    with torch.no_grad():
        for name, tensor in tensors.items():
            weights[name].copy_(tensor)


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, by the rest of their names."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
