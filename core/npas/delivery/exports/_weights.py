"""The weights of one group as an exported file makes them: by plain operations, from parameters.

Every distinct weight is made once, whoever reads it. Where the bank is no smaller than the weights
that are made of it (one template that all layers read as it is), the weights stand in the file
themselves: a tie that every tool knows.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from npas import recipes
from npas.plans import Group, Plan
from npas.recipes import Unrolled
from npas.recipes._buffers import results_kept
from npas.sharing.group import SharedGroup


class GroupWeights(nn.Module):
    """Gives the weights of all slots of a group; frozen.

    Attributes:
        is_composed: whether the file holds the banks; else it holds the weights.
    """

    def __init__(self, whole: SharedGroup, group: Group) -> None:
        """Copy what the slots read.

        Args:
            whole: the group, on the CPU.
            group: its plan.
        """
        super().__init__()
        with torch.no_grad():
            weights = [weight.detach().clone() for weight in whole()]
            self._which, first = _distinct(weights)
            self._shapes = [group.slots[index].shape for index in first]
            banks = _some(whole, group, first)
            made = [weights[index] for index in first]
            self.templates, self.mixing = nn.ParameterList(), nn.ParameterList()
            self.held = nn.ParameterList()
            self._composer = banks._composer
            self.is_composed = self._take(banks, made)
        if not self.is_composed:
            for weight, shape in zip(made, self._shapes, strict=True):
                self.held.append(_frozen(weight.view(shape)))

    def _take(self, banks: SharedGroup, made: Sequence[Tensor]) -> bool:
        """Copy the banks; False where the weights that they make are a smaller file."""
        templates = [each.detach().clone() for each in banks.templates]
        mixing = [each.detach().clone() for each in banks._current().mixing]
        held = sum(each.numel() for each in (*templates, *mixing))
        is_none = isinstance(self._composer, Unrolled) and (
            self._composer.unrolled(templates, mixing) is None
        )
        if is_none or sum(weight.numel() for weight in made) <= held:
            return False
        self.templates.extend(map(_frozen, templates))
        self.mixing.extend(map(_frozen, mixing))
        return True

    def forward(self, zero: Tensor | None) -> list[Tensor]:
        """Return the weights in the order of the plan.

        Args:
            zero: 0 that depends on the input, added to all mixing weights; None: nothing is.
        """
        made = self._composed(zero) if self.is_composed else list(self.held)
        shaped = [each.view(shape) for each, shape in zip(made, self._shapes, strict=True)]
        return [shaped[index] for index in self._which]

    def _composed(self, zero: Tensor | None) -> list[Tensor]:
        templates = list(self.templates)
        mixing = [each if zero is None else each + zero for each in self.mixing]
        if isinstance(self._composer, Unrolled):
            found = self._composer.unrolled(templates, mixing)
            assert found is not None
            return [each.contiguous() for each in found]
        with results_kept():
            return self._composer.compose(templates, mixing)


def keeps_sharing(plan: Plan, network: str | None) -> bool:
    """Return whether what a plan shares is in a file of its graph once.

    It is not where places of scalars are drawn at random: the weights stand in the file instead.

    Args:
        plan: of the networks.
        network: the one that is written; None: all.
    """
    return all(
        _has_operations(group)
        for group in plan.groups
        if network is None or any(slot.network == network for slot in group.slots)
    )


def _has_operations(group: Group) -> bool:
    """Return whether plain operations make the weights of a group; nothing is computed."""
    composer = recipes.find(group.recipe)(group)
    if not isinstance(composer, Unrolled):
        return True
    templates = [torch.empty(each.templates, each.size, device="meta") for each in group.banks]
    mixing = [
        torch.empty(len(readers), each.templates, device="meta")
        for readers, each in zip(composer.readers, group.banks, strict=True)
    ]
    return composer.unrolled(templates, mixing) is not None


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)


def _distinct(weights: Sequence[Tensor]) -> tuple[list[int], list[int]]:
    """Return for each weight which distinct one it is, and of each of these the first index."""
    first: list[int] = []
    which = []
    for index, weight in enumerate(weights):
        same = [n for n, other in enumerate(first) if _are_same(weights[other], weight)]
        if not same:
            same = [len(first)]
            first.append(index)
        which.append(same[0])
    return which, first


def _are_same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


def _some(whole: SharedGroup, group: Group, slots: Sequence[int]) -> SharedGroup:
    """Return copies of what some slots read of a group."""
    part = recipes.part(group, slots)
    banks = SharedGroup(part.group)
    banks.copy_part(whole, part)
    return banks
