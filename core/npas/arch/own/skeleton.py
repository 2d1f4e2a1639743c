"""A module's tensors without the module: names and shapes of all that a file of it holds."""

from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from npas.arch.layers import Layer, LayerTable
from npas.errors import InvalidSpecError
from npas.spec import ModuleSpec, ModuleTensor


class Skeleton(nn.Module):
    """Has the parameters and buffers of a module of the user's own, and cannot run."""

    def forward(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: there is no code here.

        Raises:
            InvalidSpecError: always.
        """
        raise InvalidSpecError("these are the tensors of a module, not the module: it cannot run")


def skeleton(spec: ModuleSpec, *, device: str) -> Skeleton:
    """Return modules that hold what a module holds, each tensor by its first name, no values.

    Raises:
        InvalidSpecError: a name or a dtype that no tensor can have.
    """
    whole = Skeleton()
    for each in spec.tensors:
        made = _made(each, device)
        *path, last = each.name.split(".")
        try:
            place = _place(whole, path)
            if isinstance(made, nn.Parameter):
                place.register_parameter(last, made)
            else:
                place.register_buffer(last, made)
        except (KeyError, AttributeError) as error:
            raise InvalidSpecError(f"{each.name} cannot name a tensor: {error}") from error
    return whole


def _made(spec: ModuleTensor, device: str) -> Tensor:
    dtype = getattr(torch, spec.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise InvalidSpecError(f"{spec.name} is of dtype {spec.dtype!r}, which torch has not")
    tensor = torch.empty(spec.shape, dtype=dtype, device=device)
    if spec.kind == "buffer":
        return tensor
    return nn.Parameter(tensor, requires_grad=spec.kind == "trained")


def _place(whole: nn.Module, path: list[str]) -> nn.Module:
    module = whole
    for part in path:
        if part not in dict(module.named_children()):
            module.add_module(part, nn.Module())
        module = module.get_submodule(part)
    return module


def table_of(network: str, spec: ModuleSpec) -> LayerTable:
    """Return the layers of a module, embeddings included, and the count of all else."""
    shapes = {each.name: each.shape for each in spec.tensors}
    layers = tuple(
        Layer(
            network=network,
            name=layer.name,
            kind=layer.kind,
            shape=shapes[layer.name],
            role=layer.role,
            stage=layer.stage,
            deviation=layer.deviation,
        )
        for layer in spec.layers
    )
    return LayerTable(layers=layers, others=spec.num_trained - sum(each.size for each in layers))
