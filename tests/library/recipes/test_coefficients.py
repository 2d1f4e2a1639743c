"""How coefficients start: lengths, zeros, and what a plan says of it."""

import npas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from npas.errors import InvalidSpecError, PlanError
from npas.plans import Bank, Plan
from npas.recipes._start import COEFFICIENTS, fresh_coefficients

MANY = settings(deadline=None, derandomize=True, max_examples=60)


def drawn(rows, templates, kind, seed=0):
    bank = Bank(shape=(2, 2), size=4, templates=templates, rows=rows)
    return fresh_coefficients(bank, torch.Generator().manual_seed(seed), kind)


@MANY
@given(
    rows=st.integers(1, 12),
    templates=st.integers(1, 12),
    kind=st.sampled_from(COEFFICIENTS),
    seed=st.integers(0, 2**31),
)
def test_every_row_has_length_1(rows, templates, kind, seed):
    coefficients = drawn(rows, templates, kind, seed)
    assert coefficients.shape == (rows, templates)
    torch.testing.assert_close(coefficients.norm(dim=1), torch.ones(rows))
    assert torch.equal(coefficients, drawn(rows, templates, kind, seed))


@MANY
@given(rows=st.integers(1, 12), templates=st.integers(2, 12), seed=st.integers(0, 2**31))
def test_sparse_has_half_of_each_row_zero(rows, templates, seed):
    zeros = (drawn(rows, templates, "sparse", seed) == 0).sum(dim=1)
    assert zeros.tolist() == [templates // 2] * rows


def test_sparse_rows_differ_in_where_they_are_zero():
    assert len({tuple(row.tolist()) for row in drawn(20, 8, "sparse") == 0}) > 10


def test_identity_takes_templates_in_turn():
    assert torch.equal(drawn(3, 4, "identity"), torch.eye(4)[:3])
    assert torch.equal(drawn(5, 2, "identity"), torch.eye(2)[[0, 1, 0, 1, 0]])


def test_orthogonal_rows_are_orthogonal_where_they_can_be():
    rows = drawn(4, 6, "orthogonal")
    torch.testing.assert_close(rows @ rows.t(), torch.eye(4), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", COEFFICIENTS)
def test_networks_start_as_the_plan_says(kind):
    plan = npas.plan("wrn-22-1", method="soft_sharing", templates=4, coefficients=kind)
    model = npas.share(npas.build("wrn-22-1"), Plan.from_json(plan.to_json()))
    for group in plan.groups:
        assert group.settings == ({} if kind == COEFFICIENTS[0] else {"coefficients": kind})
        (coefficients,) = model.groups[group.name].coefficients
        lengths = torch.full((len(coefficients),), group.row_length)
        torch.testing.assert_close(coefficients.norm(dim=1).data, lengths)
        share_of_zeros = {"orthogonal": 0, "sparse": 1 / 2, "identity": 3 / 4}[kind]
        assert (coefficients == 0).float().mean().item() == share_of_zeros


def test_a_kind_that_is_not_known_is_refused():
    with pytest.raises(InvalidSpecError, match="orthogonal") as caught:
        npas.plan("wrn-16-1", method="soft_sharing", coefficients="ones")
    assert caught.value.field == "/method/coefficients"


@pytest.mark.parametrize("method", ["soft_sharing", "superweights"])
@pytest.mark.parametrize(
    ("unknown", "match"),
    [
        ({"colour": 1}, r"'colour'.*settings: coefficients"),
        ({"coefficients": "ones"}, "should be 'orthogonal'"),
    ],
)
def test_recipes_refuse_settings_they_do_not_know(method, unknown, match):
    options = {"blocks": "nest"} if method == "superweights" else {}
    plan = npas.plan("wrn-16-1", budget={"fraction": 0.8}, method=method, **options)
    groups = tuple(group.model_copy(update={"settings": unknown}) for group in plan.groups)
    with pytest.raises(PlanError, match=match):
        npas.share(npas.build("wrn-16-1"), plan.model_copy(update={"groups": groups}))
