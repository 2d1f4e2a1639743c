"""A shared network as one module of plain operations, which exporters can read.

A shared network itself keeps composed weights from call to call and looks at the memory of its
parameters; nothing of that can stand in a file.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from npas.arch.own.copying import copied
from npas.delivery.exports._weights import GroupWeights
from npas.sharing.group import SharedGroup
from npas.sharing.model import SharedModel
from npas.torch_internals import show_weights_to_kernels

_MISSING = object()


def zero_of(inputs: Sequence[Tensor]) -> Tensor:
    """Return 0 that no tool knows to be 0, (1,): it is NaN where the first scalar is.

    Tools see through x * 0; what none of them sees is that |x| is never below 0.
    """
    x = next((each for each in inputs if each.is_floating_point()), inputs[0])
    return x.reshape(-1)[:1].abs().to(torch.float32).clamp(max=0.0)


class Unrolled(nn.Module):
    """One or several networks whose weights are made inside of `forward`, once for all readers.

    Attributes:
        networks: without the weights that are made.
        groups: what makes them.
    """

    def __init__(self, model: SharedModel, *, guard: bool) -> None:
        """Copy a network, in evaluation mode, on the CPU.

        Args:
            model: from `npas.share` or `npas.load`; left as it is.
            guard: let all weights that are composed depend on the input, formally.
        """
        super().__init__()
        twin = copied(model).cpu().eval()
        self.networks = twin.networks
        pairs = zip(twin.groups.values(), twin.plan.groups, strict=True)
        self.groups = nn.ModuleList(
            GroupWeights(cast(SharedGroup, shared), group) for shared, group in pairs
        )
        self._targets, self._guard = twin._targets, guard
        for targets in self._targets:
            for module, attribute in targets:
                module.__dict__.pop(attribute, None)
        self.requires_grad_(False).eval()

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the logits, of several networks those of each."""
        zero = zero_of(inputs) if self._guard else None
        with self._in_place([cast(GroupWeights, each)(zero) for each in self.groups]):
            logits = tuple(network(*inputs) for network in self.networks)
        return logits if len(logits) > 1 else logits[0]

    @contextmanager
    def _in_place(self, weights: list[list[Tensor]]) -> Iterator[None]:
        """Let the layers read weights, and leave no trace of them: exporters look for traces."""
        lists: dict[nn.RNNBase, Any] = {}
        pairs = [
            (module, attribute, weight)
            for targets, made in zip(self._targets, weights, strict=True)
            for (module, attribute), weight in zip(targets, made, strict=True)
        ]
        for module, attribute, weight in pairs:
            module.__dict__[attribute] = weight
            if isinstance(module, nn.RNNBase):
                lists[module] = module.__dict__.get("_flat_weights", _MISSING)
        for recurrent in lists:
            show_weights_to_kernels(recurrent)
        try:
            yield
        finally:
            for module, attribute, _ in pairs:
                module.__dict__.pop(attribute, None)
            for recurrent, old in lists.items():
                recurrent.__dict__["_flat_weights"] = old


class Apart(nn.Module):
    """A batch normalisation in evaluation, as a factor and a term that stay what they are.

    The factor depends on the input formally, so that no tool multiplies it into the weights
    before it: of a weight that several layers read each would get a copy.
    """

    def __init__(self, norm: nn.BatchNorm2d, zero: "Zero") -> None:
        super().__init__()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        deviation = (norm.running_var + norm.eps).sqrt()
        scale = torch.ones_like(deviation) if norm.weight is None else norm.weight.detach()
        shift = torch.zeros_like(deviation) if norm.bias is None else norm.bias.detach()
        scale = scale / deviation
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift - norm.running_mean * scale)
        self._zero = [zero]  # in a list: the norm does not own it

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised x, (B, C, ...)."""
        factor, term = (
            cast(Tensor, each).view(-1, *[1] * (x.dim() - 2)) for each in (self.scale, self.shift)
        )
        zero = self._zero[0].value
        assert zero is not None
        return x * (factor + zero) + term


class Zero:
    """Where the norms of a network find 0 that depends on its input, during a call.

    Attributes:
        value: the zero; None outside of a call.
    """

    value: Tensor | None = None


class NormsApart(nn.Module):
    """A module whose batch normalisations are `Apart`; takes the module over."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self._zero = module, Zero()
        for parent in list(module.modules()):
            for name, child in list(parent.named_children()):
                if _is_fixed_norm(child):
                    setattr(parent, name, Apart(cast(nn.BatchNorm2d, child), self._zero))
        self.eval().requires_grad_(False)

    def forward(self, *inputs: Tensor) -> Any:
        """Return what the module gives."""
        self._zero.value = zero_of(inputs)
        try:
            return self.module(*inputs)
        finally:
            self._zero.value = None


def _is_fixed_norm(module: nn.Module) -> bool:
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return type(module) in kinds and cast(nn.BatchNorm2d, module).running_mean is not None


class Plain(nn.Module):
    """A module that is called with its inputs one after the other; takes the module over."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.eval().requires_grad_(False)

    def forward(self, *inputs: Tensor) -> Any:
        """Return what the module gives."""
        return self.module(*inputs)


def unique_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Return the bytes of all numbers with a fraction in float32, each storage once."""
    storages: dict[int, int] = {}
    for tensor in tensors.values():
        if tensor.is_floating_point():
            key = tensor.untyped_storage().data_ptr()
            storages[key] = max(storages.get(key, 0), 4 * tensor.numel())
    return sum(storages.values())
