"""Recipes: how the banks of a group become weights. One file each, a plan names them.

A recipe is linear in the templates and linear in the mixing weights, so both directions are
written by hand and autograd sees one node per group. Axis letters here and in the recipes: L
layers of the group that read a bank, M rows of mixing weights (one per layer, unless the recipe
says otherwise), K templates, D scalars of one template.
"""

from collections.abc import Sequence
from typing import TypeVar, cast

from pydantic import ValidationError

from npas import registry
from npas.errors import PlanError
from npas.plans import Group, Slot
from npas.recipes._composer import BankInit as BankInit
from npas.recipes._composer import Composer as Composer
from npas.recipes._composer import Joinable as Joinable
from npas.recipes._composer import MatrixShape as MatrixShape
from npas.recipes._composer import OfMatrices as OfMatrices
from npas.recipes._composer import Reader as Reader
from npas.recipes._composer import Unrolled as Unrolled
from npas.recipes._part import BankPart as BankPart
from npas.recipes._part import Part as Part
from npas.recipes._part import part_by_rows as part_by_rows
from npas.recipes._start import fit_bank as fit_bank
from npas.recipes._start import fresh_bank as fresh_bank
from npas.recipes._start import readers_of as readers_of
from npas.spec import Spec

Settings = TypeVar("Settings", bound=Spec)
"""What a recipe may be told by a plan."""


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
        is_alone = bank.rows == 0 and bank.templates == 1
        if used[index] != set(range(1 if is_alone else bank.rows)):
            raise PlanError(f"group {group.name}: rows of bank {index} are not those in use")


def settings_of(group: Group, kind: type[Settings]) -> Settings:
    """Return a group's settings, checked, as the recipe's own type.

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


def part(group: Group, slots: Sequence[int]) -> Part:
    """Return some layers of a group as a group of their own, and what its banks are copies of.

    With these copies it makes the same weights: its rows of mixing weights are those that the
    whole group has for these layers. All layers give the group itself.

    Args:
        group: of a plan.
        slots: indices of the layers, at least one.

    Raises:
        PlanError: the group is not what its recipe asks for, or the recipe can make no part.
    """
    chosen = sorted(set(slots))
    if not chosen or chosen[0] < 0 or chosen[-1] >= len(group.slots):
        raise PlanError(f"group {group.name}: no layers {list(slots)}")
    composer = find(group.recipe)(group.model_copy(update={"joined": ()}))
    if len(chosen) == len(group.slots):
        return Part(group, tuple(BankPart(index) for index in range(len(group.banks))))
    if not hasattr(composer, "part"):
        raise PlanError(f"group {group.name}: recipe {group.recipe} can make no part of a group")
    return composer.part(chosen)


def with_layer(group: Group, slot: Slot) -> Group | None:
    """Return a group that one layer more reads, with as few scalars of its own as its recipe asks.

    Banks and all other layers stay as they are. None where the recipe cannot make that weight of
    these banks.

    Args:
        group: of a plan.
        slot: of the layer, the last one then; the rows it has are left out.
    """
    recipe = find(group.recipe)
    if not hasattr(recipe, "with_layer"):
        return None
    try:
        found = cast(Joinable, recipe(group)).with_layer(slot)
        if found is not None:
            recipe(found)
    except PlanError:
        return None
    return found


def matrices_in(group: Group) -> Sequence[Sequence[MatrixShape]]:
    """Return for each bank of a group the matrices of a template; none where it has no such form.

    Raises:
        PlanError: no such recipe, or the group's banks are not what its slots need.
    """
    composer = find(group.recipe)(group)
    return composer.matrices() if isinstance(composer, OfMatrices) else [()] * len(group.banks)
