"""Plans side by side: what moved is told, whatever the groups are called."""

import json

import npas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from npas.errors import PlanError
from npas.plans.comparison import Comparison, matched
from npas.sharing.untying import separated

MANY = settings(deadline=None, derandomize=True, max_examples=25)


@st.composite
def plans(draw):
    """A plan of one small network, at any budget with any bins."""
    return npas.plan(
        "resnet-14",
        budget={"fraction": draw(st.sampled_from([0.3, 0.4, 0.6, 1.0, 1.3]))},
        bins=draw(st.integers(1, 5)),
    )


def renamed(plan):
    """Return the plan with its groups in another order, under other names."""
    groups = [
        group.model_copy(update={"name": f"g{i}"}) for i, group in enumerate(reversed(plan.groups))
    ]
    return plan.model_copy(update={"groups": tuple(groups)})


@MANY
@given(plan=plans())
def test_a_plan_is_the_same_as_itself_under_other_names(plan):
    found = npas.compare(plan, renamed(plan))
    assert found.is_same
    assert found.moves == ()
    assert set(found.ledger.values()) == {0}
    assert found.text() == "parameters: the same"


@MANY
@given(before=plans(), after=plans())
def test_comparison_accounts_for_every_layer_and_scalar(before, after):
    found = npas.compare(before, after)
    in_groups = sum(len(group.slots) for group in after.groups)
    kept = sum(change.kept for change in found.groups)
    out = sum(move.after is None for move in found.moves)
    assert in_groups - kept == len(found.moves) - out
    grown = sum(change.parameters[1] - change.parameters[0] for change in found.groups)
    assert grown == found.ledger["templates"] + found.ledger["coefficients"]
    assert found.ledger["total"] == after.ledger.total - before.ledger.total
    for side, plan in ((0, before), (1, after)):
        assert sum(change.layers[side] for change in found.groups) == sum(
            len(group.slots) for group in plan.groups
        )
    assert Comparison.model_validate_json(found.model_dump_json()) == found


@MANY
@given(before=plans(), after=plans())
def test_comparison_backwards_has_the_opposite_moves(before, after):
    one, other = npas.compare(before, after), npas.compare(after, before)
    into = {(m.network, m.layer) for m in one.moves if m.before is None}
    assert into == {(m.network, m.layer) for m in other.moves if m.after is None}
    assert {k: -v for k, v in one.ledger.items()} == other.ledger
    assert one.is_same == other.is_same


def test_a_layer_that_leaves_its_group_has_moved():
    plan = npas.plan("resnet-20", budget={"fraction": 0.3}, bins=2)
    first, *rest = plan.groups
    fewer = first.model_copy(update={"slots": first.slots[:-1]})
    lost = first.slots[-1]
    changed = plan.model_copy(update={"groups": (*rest, fewer)})
    private = {"network": lost.network, "layer": lost.layer, "shape": lost.shape}
    changed = changed.model_copy(
        update={"private": (*plan.private, type(plan.private[0])(**private))}
    )
    (move,) = npas.compare(plan, changed).moves
    assert (move.network, move.layer, move.before, move.after) == (
        *("main", lost.layer),
        *(first.name, None),
    )
    assert f"main/{lost.layer}: {first.name} -> not shared" in npas.compare(plan, changed).text()


def test_rows_that_part_are_told():
    plan = npas.plan(
        "resnet-20",
        budget={"fraction": 0.4},
        method="superweights",
        coefficients="shared",
        bins=2,
    )
    found = npas.compare(plan, separated(plan))
    assert not found.is_same
    assert found.moves == ()
    assert all(change.rows[1] >= change.rows[0] for change in found.groups)
    assert found.ledger["coefficients"] == found.ledger["total"] > 0
    assert found.ledger["templates"] == 0
    assert "rows" in found.text()


def test_plans_of_other_networks_cannot_be_compared():
    plan = npas.plan("resnet-14", budget={"fraction": 0.4})
    with pytest.raises(PlanError, match="other networks") as caught:
        npas.compare(plan, npas.plan("resnet-20", budget={"fraction": 0.4}))
    assert "main (resnet-14) and main (resnet-20)" in caught.value.message
    assert "main/stages.0.2.conv1.weight" in caught.value.message


def test_what_is_no_plan_cannot_be_compared():
    plan = npas.plan("resnet-8", method="dense")
    model = npas.share(npas.build("resnet-8"), plan)
    for wrong, advice in ((None, "npas.plan"), (plan.to_json(), "from_json"), (model, ".plan")):
        with pytest.raises(PlanError, match=f"before is a .*, not a plan; .*{advice}"):
            npas.compare(wrong, plan)
        with pytest.raises(PlanError, match="after is a"):
            npas.compare(plan, wrong)


def test_groups_are_matched_by_the_layers_they_have_in_common():
    plan = npas.plan("resnet-20", budget={"fraction": 0.3})
    other = renamed(plan)
    found = matched(plan, other)
    slots = {p: {g.name: g.slots for g in each.groups} for p, each in enumerate((plan, other))}
    assert found.keys() == slots[1].keys()
    assert all(slots[0][old] == slots[1][new] for new, old in found.items())
    assert json.loads(plan.to_json())["groups"]
