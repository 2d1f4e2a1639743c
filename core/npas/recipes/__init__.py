"""Recipes: how the banks of a group become weights. One file each, a plan names them.

A recipe is linear in the templates and linear in the mixing weights, so both directions are
written by hand and autograd sees one node per group. Axis letters here and in the recipes: L
layers of the group that read a bank, M rows of mixing weights (one per layer, unless the recipe
says otherwise), K templates, D scalars of one template.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar, cast

import torch
from pydantic import ValidationError
from torch import Tensor

from npas import registry
from npas.errors import PlanError
from npas.plans import Group
from npas.spec import Spec

Settings = TypeVar("Settings", bound=Spec)
"""What a recipe may be told by a plan."""


class Reader(NamedTuple):
    """Where one row of mixing weights comes from: coefficients[row] * gain.

    Attributes:
        slot: whose weight it makes, an index into the group's slots.
        row: of the bank's coefficients; None for ones, templates taken as they are.
        gain: fixed factor.
    """

    slot: int
    row: int | None
    gain: float


class Start(NamedTuple):
    """Values for one bank.

    Attributes:
        templates: (K, D).
        coefficients: (rows, K); None for a bank without.
    """

    templates: Tensor
    coefficients: Tensor | None


class Composer(Protocol):
    """What RECIPE(group) returns: the two directions of one group's linear map.

    Promises: `compose` writes every scalar of every weight and reads every scalar of every
    template; `pull_back` is its exact transpose. None keeps the tensors it is given. Work space
    that is reused comes from `npas.recipes._buffers.buffer`, which gives new memory where an
    earlier result is still in use. Calls come one at a time, and never under autocast.

    Attributes:
        readers: for each bank, its rows of mixing weights.
    """

    readers: Sequence[Sequence[Reader]]

    def __init__(self, group: Group) -> None:
        """Raise PlanError for a group whose banks are not what its slots need."""

    def compose(self, templates: Sequence[Tensor], mixing: Sequence[Tensor]) -> list[Tensor]:
        """Return the weights of all slots, in the order of the plan.

        Args:
            templates: one (K, D) tensor per bank.
            mixing: one (M, K) tensor per bank, rows in the order of `readers`.
        """

    def pull_back(
        self,
        templates: Sequence[Tensor],
        mixing: Sequence[Tensor],
        gradients: Sequence[Tensor | None],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the gradients of templates and mixing for the gradients of all weights.

        Args:
            templates: as in `compose`.
            mixing: as in `compose`.
            gradients: one per slot, None where the weight took no part.
        """

    def fresh(self, generator: torch.Generator) -> list[Start]:
        """Return values to start training from, one per bank.

        Every weight has mean 0 and variance 2 / fan-in, as Kaiming's rule asks for.

        Args:
            generator: of all that is random, on the CPU.
        """

    def fit(self, weights: Sequence[Tensor]) -> list[Start]:
        """Return values that come near to given weights, one per bank; exact where it can be.

        Args:
            weights: one per slot, on the CPU.
        """


def check(group: Group, *, reads: Sequence[Sequence[int]], sizes: Sequence[int]) -> None:
    """Check that the banks of a group are what its slots need, and every row is read.

    Plans come from files: what a method promises is not known of them.

    Args:
        group: to check.
        reads: for each slot, the banks it reads by its shape.
        sizes: for each bank, the scalars of one template by its shape.

    Raises:
        PlanError: they are not.
    """
    if [bank.size for bank in group.banks] != list(sizes):
        raise PlanError(f"group {group.name}: sizes of banks do not fit their shapes")
    used: list[set[int]] = [set() for _ in group.banks]
    counts = [0] * len(group.banks)
    for slot, needed in zip(group.slots, reads, strict=True):
        named = [index for index, row in enumerate(slot.rows) if row is not None]
        if len(slot.rows) != len(group.banks) or named != list(needed):
            raise PlanError(f"group {group.name}: {slot.layer} does not read the banks it needs")
        for index in needed:
            used[index].add(slot.rows[index] or 0)
            counts[index] += 1
    for index, bank in enumerate(group.banks):
        is_alone = bank.rows == 0 and bank.templates == counts[index] == 1
        if used[index] != set(range(1 if is_alone else bank.rows)):
            raise PlanError(f"group {group.name}: rows of bank {index} are not those in use")


def settings_of(group: Group, kind: type[Settings]) -> Settings:
    """Return what a group's settings say to a recipe.

    Args:
        group: of a plan.
        kind: the settings that the recipe has; `Spec` itself for one without.

    Raises:
        PlanError: a setting that the recipe does not have, or a value that it cannot have.
    """
    try:
        return kind.model_validate(group.settings)
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(kind.model_fields) or "none"
        raise PlanError(
            f"group {group.name}: setting {first['loc'][0]!r} of recipe {group.recipe}: "
            f"{first['msg']} (settings: {known})"
        ) from error


def find(name: str) -> type[Composer]:
    """Return a recipe by name.

    Raises:
        UnknownNameError: there is none.
    """
    return cast(type[Composer], registry.load("npas.recipes", name, kind="recipe").RECIPE)
