"""The promises of a method over layer tables out of thin air: any shapes, roles and budgets."""

import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from npas import methods
from npas.arch.layers import LayerTable
from npas.methods import Allocation, Method
from npas.plans import Group, Stage
from npas.sharing.group import SharedGroup
from npas.spec import MethodSpec, Spec
from npas.testing.counting import check_covers, num_scalars
from npas.testing.effort import Effort, tried
from npas.testing.reading import num_unread
from npas.testing.tables import agreements, budgets, evidences, tables

STAGES: st.SearchStrategy[Stage] = st.sampled_from(typing.get_args(Stage))

EPOCHS = 100
"""Of the training that a method is asked about."""


class Trial(NamedTuple):
    """A method with options, tried on one random example.

    Attributes:
        method: that is tried.
        options: its options, checked.
        data: of hypothesis, to draw from.
        effort: how large the layer tables are.
    """

    method: Method
    options: Spec
    data: st.DataObject
    effort: Effort

    def table(self) -> LayerTable:
        """Draw a layer table."""
        return self.data.draw(tables(self.effort), label="table")

    def least(self, table: LayerTable) -> int:
        """Return the method's minimum."""
        return table.others + self.method.smallest(table, self.options).num_parameters

    def budget(self, table: LayerTable) -> int:
        """Draw a budget that the method promises to keep."""
        least = self.least(table)
        return self.data.draw(budgets(least, table.dense), label="budget")

    def allocations(
        self,
        table: LayerTable,
        budget: int,
        times: int = 1,
        stages: st.SearchStrategy[Stage] = STAGES,
    ) -> list[Allocation]:
        """Ask several times with the same drawn evidence for the same drawn stage."""
        draw = self.data.draw
        stage = draw(stages, label="stage")
        measured = evidences(table, self.method.evidence_kind)
        evidence = draw(st.one_of(st.none(), measured), label="evidence")
        return [
            self.method.allocate(table, budget, self.options, evidence=evidence, stage=stage)
            for _ in range(times)
        ]


def check_method_table_law(
    law: str, name: str, options: Mapping[str, Any], *, effort: Effort | None = None
) -> None:
    """Check one promise of a method, by its name in `TABLE_LAWS`.

    Raises:
        AssertionError: it does not hold; a note shows the smallest example.
    """
    effort = effort or Effort()
    method = methods.find(name)
    checked = methods.checked_options(method, MethodSpec(name=name, **options))

    def holds(data: st.DataObject) -> None:
        TABLE_LAWS[law](Trial(method, checked, data, effort))

    tried(holds, effort.tables, effort)


def _keeps_the_budget_and_covers_every_layer(trial: Trial) -> None:
    table = trial.table()
    budget = trial.budget(table)
    (found,) = trial.allocations(table, budget)
    check_covers(table, found.groups, found.private)
    counted = num_scalars(found.groups, found.private, table.others)
    assert counted <= budget, f"{counted} parameters, the budget is {budget}"
    claimed = table.others + found.num_parameters
    assert counted == claimed, f"{counted} parameters, the allocation says {claimed}"


def _the_minimum_is_reached(trial: Trial) -> None:
    """What `smallest` says is possible, and a budget of just that gives nothing larger.

    A method that refines may keep room for rows that come later; no other leaves anything.
    """
    table = trial.table()
    found = trial.method.smallest(table, trial.options)
    check_covers(table, found.groups, found.private)
    least = num_scalars(found.groups, found.private, table.others)
    assert least == trial.least(table)
    allocation = trial.method.allocate(table, least, trial.options, evidence=None, stage="train")
    counted = table.others + allocation.num_parameters
    may_grow = trial.method.refine_after(trial.options, epochs=EPOCHS) > 0
    is_reached = counted <= least if may_grow else counted == least
    assert is_reached, f"{counted} parameters at the minimum of {least}"


def _every_scalar_is_read(trial: Trial) -> None:
    """By gradient: what moves no weight is dead."""
    table = trial.table()
    (found,) = trial.allocations(table, trial.budget(table))
    for group in found.groups:
        shared = SharedGroup(group)
        for parameter in shared.parameters():
            parameter.data.uniform_(1, 2)
        shapes = [tuple(weight.shape) for weight in shared()]
        assert shapes == [slot.shape for slot in group.slots], f"{group.name} makes {shapes}"
        unread = num_unread(shared)
        assert not unread, f"{unread} scalars of {group.name} move no weight"


def _the_same_input_gives_the_same_allocation(trial: Trial) -> None:
    table = trial.table()
    one, other = trial.allocations(table, trial.budget(table), times=2)
    assert one == other, "two answers to the same question"


def _refinement_changes_rows_alone(trial: Trial) -> None:
    """Within the budget; every new row of coefficients comes from one old row."""
    if not trial.method.refine_after(trial.options, epochs=EPOCHS):
        return
    table = trial.table()
    budget = trial.budget(table)
    (found,) = trial.allocations(table, budget, stages=st.just("train"))
    agreement = trial.data.draw(agreements(found.groups), label="agreement")
    refined = trial.method.refine(found.groups, trial.options, agreement)
    assert refined == trial.method.refine(found.groups, trial.options, agreement)
    check_covers(table, refined, found.private)
    counted = num_scalars(refined, found.private, table.others)
    assert counted <= budget, f"{counted} parameters after refining, the budget is {budget}"
    for before, after in zip(found.groups, refined, strict=True):
        SharedGroup(after)
        _check_rows(before, after)


def _check_rows(before: Group, after: Group) -> None:
    kept = [(bank.shape, bank.size, bank.templates) for bank in before.banks]
    assert [(bank.shape, bank.size, bank.templates) for bank in after.banks] == kept
    assert (after.name, after.recipe, after.settings) == (
        before.name,
        before.recipe,
        before.settings,
    )
    for index in range(len(before.banks)):
        came_from: dict[int | None, int | None] = {}
        for old, new in zip(before.slots, after.slots, strict=True):
            source = came_from.setdefault(new.rows[index], old.rows[index])
            assert source == old.rows[index], f"a row of {after.name} has two sources"


def _the_dense_size_keeps_every_layer_plain(trial: Trial) -> None:
    table = trial.table()
    for found in trial.allocations(table, table.dense, stages=st.just("train")):
        assert found.groups == (), "layers share at the dense size"
        assert found.private == table.layers, "not the layers of the table, in its order"


def _the_minimum_is_at_most_dense(trial: Trial) -> None:
    table = trial.table()
    least = trial.least(table)
    assert least <= table.dense, f"the minimum {least} is above the dense size {table.dense}"


def _no_layers_are_no_groups(trial: Trial) -> None:
    table = LayerTable(layers=(), others=trial.data.draw(st.integers(0, 100)))
    for found in trial.allocations(table, table.others):
        assert (found.groups, found.private) == ((), ())


def _asks_for_what_can_be(trial: Trial) -> None:
    epochs = trial.data.draw(st.integers(1, EPOCHS), label="epochs")
    assert trial.method.title, "a method has a title"
    assert trial.method.search_epochs(trial.options, epochs=epochs) >= 0
    for variant in trial.method.variants:
        trial.method.Options.model_validate(variant)
    assert trial.method.evidence_batches(trial.options) >= 1
    assert 0 <= trial.method.refine_after(trial.options, epochs=EPOCHS) < EPOCHS
    pull, fold_at = trial.method.recurrence(trial.options), trial.method.fold_at(trial.options)
    assert pull is None or pull.strength > 0
    assert fold_at is None or 0 < fold_at <= 1


TABLE_LAWS: dict[str, Callable[[Trial], None]] = {
    "keeps the budget and covers every layer": _keeps_the_budget_and_covers_every_layer,
    "the minimum is reached": _the_minimum_is_reached,
    "every scalar is read": _every_scalar_is_read,
    "the same input gives the same allocation": _the_same_input_gives_the_same_allocation,
    "refinement changes rows alone": _refinement_changes_rows_alone,
    "no layers are no groups": _no_layers_are_no_groups,
    "asks for what can be": _asks_for_what_can_be,
    "the dense size keeps every layer plain": _the_dense_size_keeps_every_layer_plain,
    "the minimum is at most dense": _the_minimum_is_at_most_dense,
}
"""Promises over layer tables, by name."""

LAWS_OF_DEFAULTS = (
    "the dense size keeps every layer plain",
    "the minimum is at most dense",
)
"""Laws that options may break: who asks for one template gets no dense network."""


def table_laws(options: Mapping[str, Any]) -> Sequence[str]:
    """Return the laws that hold for a method with these options."""
    return [law for law in TABLE_LAWS if not options or law not in LAWS_OF_DEFAULTS]
