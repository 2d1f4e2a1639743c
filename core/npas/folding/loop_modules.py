"""What a network that runs in loops is made of: blocks stored once that run several times."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from npas.torch_internals import parameters_of


class EachStep(nn.Module):
    """A module for each iteration: the normalisations of a loop."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.each = nn.ModuleList(modules)
        self.step = 0

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module of the current iteration."""
        return cast(Tensor, self.each[self.step](x))


class Repeated(nn.Module):
    """One weight for all iterations, times a scalar for each, and biases for each.

    Attributes:
        layer: without a bias.
        scalars: one per iteration; None where all are 1.
        biases: (steps, out); None without.
    """

    def __init__(self, layer: nn.Module, scalars: Tensor, biases: Sequence[Tensor]) -> None:
        super().__init__()
        self.layer = layer
        self.step = 0
        is_trained = cast(Tensor, layer.weight).requires_grad
        self.scalars = None if _are_ones(scalars) else nn.Parameter(scalars, is_trained)
        self.biases: nn.Parameter | None = None
        if biases:
            stacked = torch.stack([bias.detach() for bias in biases])
            self.biases = nn.Parameter(stacked, any(bias.requires_grad for bias in biases))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer as it is in the current iteration."""
        out = cast(Tensor, self.layer(x))
        if self.scalars is not None:
            out = out * self.scalars[self.step]
        if self.biases is not None:
            places = cast(Tensor, self.layer.weight).dim() - 2
            out = out + self.biases[self.step].view(-1, *[1] * places)
        return out


class Placed(nn.Module):
    """A module for each iteration, with matrices that are one for all, times scalars.

    For modules that do more than one product, such as attention.

    Attributes:
        each: without the matrices.
        names: of the matrices in each module.
        weights: the matrices.
        scalars: (matrices, steps); None where all are 1.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        weights: Mapping[str, nn.Parameter],
        scalars: Sequence[Tensor],
    ) -> None:
        super().__init__()
        for module in modules:
            for name in weights:
                path, _, attribute = name.rpartition(".")
                del parameters_of(module.get_submodule(path))[attribute]
        self.each = nn.ModuleList(modules)
        self.names = list(weights)
        self.weights = nn.ParameterList(weights.values())
        stacked = torch.stack(list(scalars))
        is_trained = any(weight.requires_grad for weight in weights.values())
        self.scalars = None if _are_ones(stacked) else nn.Parameter(stacked, is_trained)
        self.step = 0

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Put the matrices in their places and apply the module of the current iteration."""
        module, filled = self.each[self.step], []
        try:
            for index, name in enumerate(self.names):
                path, _, attribute = name.rpartition(".")
                holder, weight = module.get_submodule(path), self.weights[index]
                if self.scalars is not None:
                    weight = weight * self.scalars[index, self.step]
                holder.__dict__[attribute] = weight
                filled.append((holder, attribute))
            return module(*inputs, **named)
        finally:
            for holder, attribute in filled:
                del holder.__dict__[attribute]


class Loop(nn.Sequential):
    """Blocks that are applied several times in turn.

    Attributes:
        steps: how often.
    """

    def __init__(self, blocks: Sequence[nn.Module], steps: int) -> None:
        super().__init__(*blocks)
        self.steps = steps

    def forward(self, input: Any, *others: Any, **named: Any) -> Any:
        """Apply all blocks, `steps` times; all but the first argument are the same for each."""
        stepping = [m for m in self.modules() if isinstance(m, EachStep | Repeated | Placed)]
        for step in range(self.steps):
            for module in stepping:
                module.step = step
            for block in self:
                input = block(input, *others, **named)
        return input

    def extra_repr(self) -> str:
        """Say how often."""
        return f"steps={self.steps}"


def _are_ones(scalars: Tensor) -> bool:
    """Return whether all are 1 up to the rounding of float32 weights."""
    return bool(((scalars - 1).abs() < 1e-6).all())
