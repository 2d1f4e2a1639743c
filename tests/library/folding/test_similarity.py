"""How alike layers are, and the pull that makes them alike, against NumPy."""

import npas
import numpy as np
import pytest
import torch
from npas.errors import InvalidSpecError
from npas.folding.penalty import recurrence_penalty
from npas.folding.similarity import MOST_LAYERS, History


def shared(name="wrn-22-1", seed=0, **options):
    plan = npas.plan(name, method="soft_sharing", **({"templates": 3} | options))
    model = npas.share(npas.build(name, seed=seed), plan, seed=seed)
    torch.manual_seed(seed)
    for group in model.groups.values():  # rows of any length, templates that are not orthogonal
        with torch.no_grad():
            group.coefficients[0].normal_()
            group.templates[0].add_(0.1)
    return model


def cosines(rows):
    """Return |<a, b>| / (|a| |b|) pair by pair."""
    found = np.zeros((len(rows), len(rows)))
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            found[i, j] = abs((a * b).sum()) / np.sqrt((a * a).sum() * (b * b).sum())
    return found


def test_similarity_is_the_cosine_of_the_weights():
    model = shared()
    plain = model.materialise()["main"]
    for group in model.plan.groups:
        weights = [
            plain.get_parameter(slot.layer).detach().double().numpy().ravel()
            for slot in group.slots
        ]
        found = npas.similarity(model)[group.name]
        np.testing.assert_allclose(found, cosines(weights), atol=1e-6)
        assert torch.equal(found.diagonal(), torch.ones(len(weights), dtype=torch.float64))


def test_similarity_of_coefficients_is_the_papers():
    model = shared()
    found = npas.similarity(model, of="coefficients")
    for name, group in model.groups.items():
        wanted = cosines(group.coefficients[0].detach().numpy())
        np.testing.assert_allclose(found[name], wanted, atol=1e-6)


def test_similarity_does_not_depend_on_how_templates_are_mixed():
    """Templates M T with alpha M^-1 are the same network; the paper's matrix moves."""
    model = shared()
    before, papers = npas.similarity(model), npas.similarity(model, of="coefficients")
    for group in model.groups.values():
        with torch.no_grad():
            mixer = torch.tensor([[2.0, 0.3, 0.0], [0.0, 0.5, 0.4], [0.1, 0.0, 1.0]])
            group.templates[0].copy_(mixer @ group.templates[0])
            group.coefficients[0].copy_(group.coefficients[0] @ mixer.inverse())
    for name, matrix in npas.similarity(model).items():
        torch.testing.assert_close(matrix, before[name], atol=1e-5, rtol=0)
        assert (npas.similarity(model, of="coefficients")[name] - papers[name]).abs().max() > 0.05


def test_similarity_has_groups_of_one_shape_only():
    plan = npas.plan("wrn-16-2", budget={"fraction": 0.3}, bins=2)
    found = npas.similarity(npas.share(npas.build("wrn-16-2"), plan))
    alike = [g for g in plan.groups if len({slot.shape for slot in g.slots}) == 1]
    assert set(found) == {g.name for g in alike if len(g.slots) > 1}
    assert len(found) < len(plan.groups)


def test_similarity_of_something_else_is_refused():
    with pytest.raises(InvalidSpecError, match="weights or coefficients"):
        npas.similarity(shared(), of="gradients")


def test_a_weight_of_zeros_is_like_no_other():
    model = shared()
    with torch.no_grad():
        model.groups["g0"].coefficients[0][1] = 0
    matrix = npas.similarity(model)["g0"]
    assert matrix[1].tolist() == [0, 1, 0, 0]
    assert matrix.isfinite().all()


def test_history_goes_through_a_file():
    model, history = shared(), History()
    history.record(model, 1)
    again = History()
    again.restore(model.plan, {"model/x": torch.zeros(1), **history.tensors()})
    with torch.no_grad():
        model.groups["g0"].coefficients[0].normal_()
    for each in (history, again):
        each.record(model, 2)
        assert each.epochs == [1, 2]
    for name, stack in history.tensors().items():
        assert torch.equal(stack, again.tensors()[name])
    first, second = history.matrices["g0"]
    assert not torch.equal(first, second)
    torch.testing.assert_close(second, npas.similarity(model)["g0"].float())


def test_history_of_nothing_is_nothing():
    history = History()
    assert history.tensors() == {}
    history.restore(shared().plan, {"model/x": torch.zeros(1)})
    assert (history.epochs, history.matrices) == ([], {})


def test_history_begins_anew_with_another_plan_and_keeps_it_small():
    history = History()
    history.record(shared(), 1)
    history.record(shared("wrn-118-1", templates=1), 2)
    assert history.epochs == [2]
    assert {len(m) for (m,) in history.matrices.values()} == {MOST_LAYERS}


@pytest.mark.parametrize(("form", "power"), [("squared", 2), ("absolute", 1)])
def test_penalty_is_numpys_and_so_is_its_gradient(form, power):
    """-lambda sum_ij (|a_i a_j| / (|a_i| |a_j|)) ** power, by differences in float64."""
    model = shared(recurrence=0.03, recurrence_form=form).double()
    penalty = recurrence_penalty(model.plan)
    value = penalty(model)
    rows = {n: g.coefficients[0].detach().numpy().copy() for n, g in model.groups.items()}
    wanted = -0.03 * sum((cosines(r) ** power).sum() for r in rows.values())
    assert value.item() == pytest.approx(wanted, rel=1e-12)
    value.backward()
    step = 1e-6
    for name, group in model.groups.items():
        assert group.templates[0].grad is None
        found = group.coefficients[0].grad.numpy()
        for index in np.ndindex(*rows[name].shape):
            moved = [rows[name].copy(), rows[name].copy()]
            moved[0][index] += step
            moved[1][index] -= step
            more, less = ((cosines(each) ** power).sum() for each in moved)
            assert found[index] == pytest.approx(-0.03 * (more - less) / (2 * step), abs=1e-7)


def least_similarity_after_pulling(seed, form):
    """Follow the penalty alone from fresh, orthogonal coefficients."""
    plan = npas.plan(
        "wrn-22-1", method="soft_sharing", templates=3, recurrence=0.03, recurrence_form=form
    )
    model = npas.share(npas.build("wrn-22-1", seed=seed), plan, seed=seed)
    penalty = recurrence_penalty(plan)
    optimizer = torch.optim.SGD([g.coefficients[0] for g in model.groups.values()], 0.1, 0.9)
    for _ in range(300):
        optimizer.zero_grad()
        penalty(model).backward()
        optimizer.step()
    found = npas.similarity(model, of="coefficients").values()
    return min(matrix.min().item() for matrix in found)


def test_penalty_alone_makes_all_layers_alike():
    assert min(least_similarity_after_pulling(seed, "squared") for seed in range(3)) > 0.999


def test_the_papers_penalty_can_end_far_from_recurrence():
    """Why squares are the default: sums of absolute cosines have local maxima."""
    assert min(least_similarity_after_pulling(seed, "absolute") for seed in range(3)) < 0.8


def test_no_penalty_where_none_is_asked_for():
    assert recurrence_penalty(shared().plan) is None
    assert recurrence_penalty(shared(recurrence=0.0).plan) is None
    assert recurrence_penalty(npas.plan("wrn-16-1", method="dense")) is None


def test_recurrence_below_zero_is_refused():
    with pytest.raises(InvalidSpecError, match="greater than or equal to 0") as caught:
        npas.plan("wrn-16-1", method="soft_sharing", recurrence=-0.1)
    assert caught.value.field == "/method/recurrence"
