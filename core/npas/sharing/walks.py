"""Steps of a bank, and of plain weights that one of its layers has in place of what it makes.

On a copy of networks, in which all else is frozen.
"""

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from npas.errors import DataError
from npas.plans import Group, LayerKey
from npas.sharing.group import SharedGroup
from npas.sharing.model import SharedModel
from npas.torch_internals import show_weights_to_kernels

Batch = tuple[Any, Tensor]
"""What networks read, images (B, channels, H, W) or a mapping of keywords; and labels (B,)."""

Losses = Callable[[Any, Tensor], Tensor]
"""What a network returned and the labels -> the loss of each example, (B,)."""

Gradients = Mapping[LayerKey, Tensor | None]
"""Of a loss by the weights of layers; None where they take no part."""

_SHORT = 1e-3
"""Part of the length of a bank's parameters by which its rate is found."""


class Frozen:
    """A copy of networks, to whose layers weights are given one by one."""

    def __init__(self, model: SharedModel, losses: Losses) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._losses = losses
        self._modules = {
            slot.key: self._module(*slot.key)
            for group in model.plan.groups
            for slot in group.slots
        }

    def _module(self, network: str, layer: str) -> tuple[nn.Module, str]:
        path, _, attribute = layer.rpartition(".")
        return self.model.network(network).get_submodule(path), attribute

    def group(self, name: str) -> SharedGroup:
        """Return the banks of a group."""
        return cast(SharedGroup, self.model.groups[name])

    def weights(self, group: Group) -> dict[LayerKey, Tensor]:
        """Return the weights that a group's banks make now, by layer."""
        with torch.no_grad():
            made = self.group(group.name)()
        return {slot.key: each for slot, each in zip(group.slots, made, strict=True)}

    def put(self, weights: Mapping[LayerKey, Tensor]) -> None:
        """Put weights in place, those of the banks for layers that none are given for."""
        with torch.no_grad():
            self.model.compose()
        recurrent: dict[nn.RNNBase, None] = {}
        for key, weight in weights.items():
            module, attribute = self._modules[key]
            module.__dict__[attribute] = weight
            if isinstance(module, nn.RNNBase):
                recurrent[module] = None
        for module in recurrent:
            show_weights_to_kernels(module)

    def losses(self, networks: Iterable[str], batch: Batch) -> Tensor:
        """Return the sum of networks' losses for each example, (B,), with the weights in place."""
        x, y = batch
        # Kernels for recurrent layers on a GPU give gradients in training mode alone.
        cudnn = torch.backends.cudnn
        with cudnn.flags(
            enabled=cudnn.enabled and not self.model._recurrent,
            deterministic=True,
            allow_tf32=cudnn.allow_tf32,
        ):
            each = [
                self._losses(net(**x) if isinstance(x, Mapping) else net(x), y)
                for net in map(self.model.network, networks)
            ]
        total = torch.stack(each).sum(dim=0)
        if total.shape != y.shape[:1]:
            raise DataError(
                f"losses are {tuple(total.shape)} for {len(y)} examples: return one of each"
            )
        return total


@dataclass(frozen=True, slots=True)
class Rates:
    """How far a gradient moves the parameters of a group: so many times itself.

    Attributes:
        bank: of the bank; 0 where it has no reader, or no gradient.
        own: of the plain weights of one layer.
    """

    bank: float
    own: float


class Walker:
    """The bank of a group, and the plain weights of a layer that is un-shared, as they move.

    Attributes:
        begun: where they were.
    """

    def __init__(
        self,
        frozen: Frozen,
        group: Group,
        key: LayerKey | None,
        gradients: Gradients,
    ) -> None:
        self._frozen, self._group, self._key = frozen, group, key
        self._banks = frozen.group(group.name)
        made = frozen.weights(group)
        self._own = None if key is None else made[key].detach().clone()
        self.begun = self.point()
        self._unit = self._unit_rates(made, gradients)

    def _unit_rates(self, made: Mapping[LayerKey, Tensor], gradients: Gradients) -> Rates:
        """Return the rates of a step of size 1."""
        slots = [slot.key for slot in self._group.slots]
        length = _length([made[key] for key in slots])
        steepness = _length([g for key in slots if (g := gradients[key]) is not None])
        own = length / steepness if steepness else 0.0
        return Rates(self._unit_rate_of_bank(made, gradients), own)

    def _unit_rate_of_bank(self, made: Mapping[LayerKey, Tensor], gradients: Gradients) -> float:
        """Return the rate at which the bank changes the weights that it makes by their length.

        It is found by a step so short that weights change as the parameters do.
        """
        readers = [slot.key for slot in self._group.slots if slot.key != self._key]
        if all(gradients[key] is None for key in readers):
            return 0.0
        pulled = self._pulled(gradients)
        steepness, length = _length(pulled), _length(list(self._banks.parameters()))
        if not steepness or not length:
            return 0.0
        kept = {key: made[key].clone() for key in readers}
        rate = _SHORT * length / steepness
        self._move_bank(pulled, rate)
        now = self._frozen.weights(self._group)
        moved = _length([now[key] - kept[key] for key in readers])
        self.go(self.begun)
        return rate * _length(list(kept.values())) / moved if moved else 0.0

    def rates(self, bank: float, own: float) -> Rates:
        """Return the rates of a first step of some sizes."""
        return Rates(bank * self._unit.bank, own * self._unit.own)

    def _pulled(self, gradients: Gradients) -> list[Tensor]:
        """Return the gradients of the bank's parameters by what the other layers ask."""
        asked = [
            None if slot.key == self._key else gradients[slot.key] for slot in self._group.slots
        ]
        with torch.no_grad():
            return self._banks.pull_back(asked)

    def move(self, gradients: Gradients, rates: Rates) -> None:
        """Take a step down the gradients by the weights of all layers."""
        if rates.bank:
            self._move_bank(self._pulled(gradients), rates.bank)
        own = None if self._key is None else gradients[self._key]
        if self._own is not None and own is not None:
            self._own = self._own - rates.own * own

    def _move_bank(self, pulled: Sequence[Tensor], rate: float) -> None:
        with torch.no_grad():
            for parameter, gradient in zip(self._banks.parameters(), pulled, strict=True):
                parameter.sub_(gradient, alpha=rate)

    def point(self) -> list[Tensor | None]:
        """Return where the bank's parameters and the plain weights are."""
        return [*(each.detach().clone() for each in self._banks.parameters()), self._own]

    def go(self, point: Sequence[Tensor | None]) -> None:
        """Go back to where they were."""
        with torch.no_grad():
            for parameter, value in zip(self._banks.parameters(), point, strict=False):
                parameter.copy_(cast(Tensor, value))
        self._own = point[-1]

    def own(self) -> dict[LayerKey, Tensor]:
        """Return the plain weights by layer; nothing where all share."""
        return {} if self._key is None or self._own is None else {self._key: self._own}

    def weights(self) -> dict[LayerKey, Tensor]:
        """Return the weights of all layers of the group as they are now."""
        return self._frozen.weights(self._group) | self.own()


def _length(tensors: Sequence[Tensor]) -> float:
    """Return the length of tensors as one vector."""
    return math.sqrt(sum(float(each.detach().double().square().sum()) for each in tensors))
