"""Refining: a plan changed in the midst of training, put into effect without a jump.

Source: "Learning to Compose SuperWeights", the released code's unsharing of coefficients. There
the copies lose their momentum, and most of them the optimiser; here the model that comes out
computes the same bits, and says where each of its rows comes from.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor

from npas.errors import PlanError
from npas.plans import Group, Plan
from npas.plans.rows import is_tied, num_rows, readers_of_bank, stands_at, with_owners
from npas.sharing.group import SharedGroup
from npas.sharing.model import SharedModel


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Untied:
    """A model under a refined plan.

    Attributes:
        model: has the parameters and buffers of the model before, under the same names.
        rows: for the name of each parameter with other rows than before, the old row that every
            new one is a copy of.
    """

    model: SharedModel
    rows: Mapping[str, Tensor]


def separated(plan: Plan) -> Plan:
    """Return the plan where every reader of a bank has a coefficient vector of its own.

    It says what could become of the plan, not what its budget holds.
    """
    groups = tuple(_separated(group) for group in plan.groups)
    count = sum(bank.num_coefficients for group in groups for bank in group.banks)
    room = max(plan.ledger.budget, plan.ledger.total - plan.ledger.coefficients + count)
    return plan.refined(groups, budget=room)


def _separated(group: Group) -> Group:
    tied = [index for index in range(len(group.banks)) if is_tied(group, index)]
    return with_owners(group, {index: readers_of_bank(group, index) for index in tied})


def untie(model: SharedModel, plan: Plan) -> Untied:
    """Return a model with the same weights under a plan where fewer layers share coefficients.

    Its outputs are those of the model, bit for bit. The model is left as it is.

    Args:
        model: under the plan before.
        plan: the same layers in the same groups with the same templates; each row of coefficients
            comes from one row before.

    Raises:
        PlanError: it is not such a plan.
    """
    _check(model.plan, plan)
    untied = SharedModel(model.materialise(), plan)
    untied.extra, untied.active = dict(model.extra), model.active
    found: dict[str, Tensor] = {}
    for before, after in zip(model.plan.groups, plan.groups, strict=True):
        old, new = (cast(SharedGroup, each.groups[after.name]) for each in (model, untied))
        new.to(old.templates[0])
        sources = list(_sources(before, after))
        for index, rows in enumerate(sources):
            if len(rows) != len(old.coefficients[index]):
                found[f"groups.{after.name}.coefficients.{index}"] = rows
        with torch.no_grad():
            for ours, theirs in zip(new.templates, old.templates, strict=True):
                ours.copy_(theirs).requires_grad_(theirs.requires_grad)
            for ours, theirs, rows in zip(
                new.coefficients, old.coefficients, sources, strict=True
            ):
                ours.copy_(theirs[rows.to(theirs.device)]).requires_grad_(theirs.requires_grad)
    for module in (untied, untied.networks, *untied.groups.modules()):
        module.training = model.training
    return Untied(model=untied, rows=found)


def _sources(before: Group, after: Group) -> Iterator[Tensor]:
    """Yield, for each bank with coefficients, the old row of every new one.

    Raises:
        PlanError: a new row has two old ones, or none.
    """
    for index, bank in enumerate(after.banks):
        if not bank.rows:
            continue
        if before == after:  # also where a layer has rows for many windows
            yield torch.arange(bank.rows)
            continue
        found: set[tuple[int, int]] = set()
        for new, old in zip(after.slots, before.slots, strict=True):
            firsts = new.rows[index], old.rows[index]
            if firsts[0] is not None and firsts[1] is not None:
                count = num_rows(after, index, new)
                found.update((firsts[0] + row, firsts[1] + row) for row in range(count))
        pairs = sorted(found)
        if [new for new, _ in pairs] != list(range(bank.rows)):
            raise PlanError(f"group {after.name}: a row of bank {index} has no lone origin")
        yield torch.tensor([old for _, old in pairs])


def _check(before: Plan, after: Plan) -> None:
    """Check that plans differ in nothing but rows of coefficients.

    Raises:
        PlanError: they do.
    """
    for one, other in zip(before.groups, after.groups, strict=False):
        if _without_rows(one) != _without_rows(other):
            raise PlanError(f"group {one.name} is not the same group with other coefficients")
    names = ("networks", "private", "method")
    if len(before.groups) != len(after.groups) or any(
        getattr(before, name) != getattr(after, name) for name in names
    ):
        raise PlanError("the plan is not the same plan with other coefficients")


def _without_rows(group: Group) -> tuple[object, ...]:
    """Return the part of a group that must not change: the bank that is read, not the row.

    Where a layer stands may not either, if that says how its blocks are shuffled.
    """
    return (
        (group.name, group.recipe, group.settings),
        [(bank.shape, bank.size, bank.templates, bank.rows > 0) for bank in group.banks],
        [
            (*slot.key, slot.shape, [row is None for row in slot.rows], stands_at(group, slot))
            for slot in group.slots
        ],
    )
