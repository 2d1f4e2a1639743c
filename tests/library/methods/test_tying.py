"""Coefficients that layers start with together, and who parts from whom."""

import itertools

import npas
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from npas import methods
from npas.arch.layers import Layer, LayerTable
from npas.errors import InvalidSpecError, PlanError
from npas.methods._linkage import agreeing
from npas.methods._tying import owners
from npas.planning.planner import refine
from npas.plans.evidence import BankAgreement, CoefficientAgreement, Evidence, Similarity
from npas.sharing.untying import separated
from npas.spec import ArchitectureSpec, NetworkSpec

MANY = settings(deadline=None, derandomize=True, max_examples=60)
METHOD = methods.find("superweights")
every_start = pytest.mark.parametrize("how", ["shared", "joined"])


def cosine_of(vectors):
    """Return the cosines of rows, 0 for rows of zeros, exactly symmetric."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1), 1e-30)[:, None]
    return np.clip((unit @ unit.T + (unit @ unit.T).T) / 2, -1, 1)


@st.composite
def gradients(draw):
    """Up to 12 vectors with copies among them."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    distinct = random.normal(size=(draw(st.integers(1, 5)), 4))
    return distinct, draw(st.lists(st.integers(0, len(distinct) - 1), min_size=1, max_size=12))


@MANY
@given(drawn=gradients(), threshold=st.floats(-1, 0.999))
def test_identical_gradients_always_stay_together(drawn, threshold):
    distinct, chosen = drawn
    found = agreeing(cosine_of(distinct[chosen]), threshold)
    assert sorted(itertools.chain(*found)) == list(range(len(chosen)))
    of = {i: number for number, cluster in enumerate(found) for i in cluster}
    for i, j in itertools.combinations(range(len(chosen)), 2):
        if chosen[i] == chosen[j]:
            assert of[i] == of[j]


@MANY
@given(drawn=gradients(), thresholds=st.tuples(st.floats(-1, 1), st.floats(-1, 1)))
def test_a_lower_threshold_parts_no_more(drawn, thresholds):
    cosine = cosine_of(drawn[0][drawn[1]])
    coarse, fine = (agreeing(cosine, threshold) for threshold in sorted(thresholds))
    assert all(any(set(part) <= set(whole) for whole in coarse) for part in fine)


@MANY
@given(drawn=gradients(), threshold=st.floats(-1, 1))
def test_no_two_clusters_agree_more_than_the_threshold(drawn, threshold):
    cosine = cosine_of(drawn[0][drawn[1]])
    for one, other in itertools.combinations(agreeing(cosine, threshold), 2):
        assert cosine[np.ix_(one, other)].mean() <= threshold + 1e-12


@st.composite
def allocations(draw, table, how):
    bins = draw(st.integers(1, 3))
    options = METHOD.Options(coefficients=how, bins=bins, blocks="nest")  # stacks share none
    least = table.others + METHOD.smallest(table, options).num_parameters
    budget = draw(st.integers(least, max(least, table.dense)))
    found = METHOD.allocate(table, budget, options, evidence=None, stage="train")
    return options, budget, found.groups, table.others + found.num_parameters


@st.composite
def agreements(draw, groups):
    """Agreement of the readers of every bank of some groups, out of thin air."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    banks = []
    for group in groups:
        for index, bank in enumerate(group.banks):
            names = [s.key for s in group.slots if s.rows[index] is not None]
            if bank.rows:
                cosine = cosine_of(random.normal(size=(len(names), 2)))
                matrix = tuple(map(tuple, cosine.tolist()))
                banks.append(
                    BankAgreement(group=group.name, bank=index, layers=tuple(names), cosine=matrix)
                )
    return CoefficientAgreement(batches=1, banks=tuple(banks))


@every_start
@MANY
@given(table=st.from_type(LayerTable), data=st.data())
def test_parted_groups_fit_the_same_budget_and_split_only(how, table, data):
    options, budget, groups, count = data.draw(allocations(table, how))
    evidence = data.draw(agreements(groups))
    threshold = data.draw(st.floats(-1, 1))
    options = options.model_copy(update={"unshare_threshold": threshold})

    parted = METHOD.refine(groups, options, evidence)

    grown = sum(g.num_parameters for g in parted) - sum(g.num_parameters for g in groups)
    assert 0 <= grown <= budget - count
    for before, after in zip(groups, parted, strict=True):
        for index, (old, new) in enumerate(zip(before.banks, after.banks, strict=True)):
            assert (old.shape, old.size, old.templates) == (new.shape, new.size, new.templates)
            origin = {}
            for slot, other in zip(before.slots, after.slots, strict=True):
                row = other.rows[index]
                assert (row is None) == (slot.rows[index] is None)
                assert origin.setdefault(row, slot.rows[index]) == slot.rows[index]
            if new.rows:
                assert set(origin) - {None} == set(range(new.rows))


@every_start
@MANY
@given(table=st.from_type(LayerTable), data=st.data())
def test_parting_all_is_what_there_was_room_for(how, table, data):
    options, budget, groups, _ = data.draw(allocations(table, how))
    options = options.model_copy(update={"unshare_threshold": 1.0})
    own = METHOD.allocate(
        table,
        budget,
        options.model_copy(update={"coefficients": "own"}),
        evidence=None,
        stage="train",
    )
    parted = METHOD.refine(groups, options, data.draw(agreements(groups)))
    assert parted == own.groups


@MANY
@given(table=st.from_type(LayerTable))
def test_layers_of_one_shape_start_with_one_vector(table):
    found = owners(table.layers, "shared", None)
    for index, owner in enumerate(found):
        assert table.layers[owner].shape == table.layers[index].shape
        assert found[owner] == owner
    assert len(set(found)) == len({layer.shape for layer in table.layers})


@MANY
@given(table=st.from_type(LayerTable), data=st.data())
def test_other_networks_start_with_the_first_ones_vectors(evidence_for, table, data):
    evidence = data.draw(st.one_of(st.none(), evidence_for(table)))
    first = table.layers[0].network
    found = owners(table.layers, "joined", evidence)
    for index, owner in enumerate(found):
        is_own = table.layers[index].network == first
        assert owner == index if is_own else table.layers[owner].network == first


def test_the_same_network_twice_starts_with_the_same_vectors():
    """Without evidence, the layers at the same depth are joined."""
    networks = [
        NetworkSpec(name=name, architecture=ArchitectureSpec(name="resnet-14")) for name in "ab"
    ]
    plan = npas.plan(
        networks, budget={"fraction": 0.3}, method="superweights", coefficients="joined"
    )
    assert plan.groups
    for group in plan.groups:
        own = [slot.rows for slot in group.slots if slot.network == "a"]
        other = [slot.rows for slot in group.slots if slot.network == "b"]
        assert own == other


def test_joined_takes_the_layer_whose_gradients_agree_most():
    layers = [
        Layer(network=n, name=str(i), kind="linear", shape=(4, 4), role="body", stage="all")
        for n, i in itertools.product("ab", range(3))
    ]
    vectors = np.eye(3)[[0, 1, 2, 2, 0, 1]]
    matrix = tuple(map(tuple, cosine_of(vectors).tolist()))
    names = tuple(layer.key for layer in layers)
    evidence = Evidence(batches=1, classes=(Similarity(layers=names, cosine=matrix),))
    assert owners(layers, "joined", evidence) == [0, 1, 2, 2, 0, 1]
    assert owners(layers, "joined", None) == [0, 1, 2, 0, 1, 2]


def test_one_network_starts_with_coefficients_of_its_own_when_joined():
    joined = npas.plan(
        "resnet-14", budget={"fraction": 0.4}, method="superweights", coefficients="joined"
    )
    own = npas.plan("resnet-14", budget={"fraction": 0.4}, method="superweights", blocks="nest")
    assert joined.groups == own.groups


def test_shared_coefficients_leave_room_to_part():
    shared = npas.plan(
        "resnet-56", budget={"fraction": 0.3}, method="superweights", coefficients="shared"
    )
    own = npas.plan("resnet-56", budget={"fraction": 0.3}, method="superweights", blocks="nest")
    apart = separated(shared)
    assert shared.ledger.coefficients < own.ledger.coefficients
    assert apart.groups == own.groups
    assert apart.ledger.total == own.ledger.total <= shared.ledger.budget
    assert apart.stage == "refined"


def test_refine_needs_evidence_of_the_same_plan():
    plan = npas.plan(
        "resnet-14", budget={"fraction": 0.4}, method="superweights", coefficients="shared"
    )
    with pytest.raises(PlanError, match="does not say how the readers of g0 agree"):
        refine(plan, CoefficientAgreement(batches=1, banks=()))


@pytest.mark.parametrize(
    ("options", "epochs", "wanted"),
    [
        ({}, 200, 0),
        ({"coefficients": "shared"}, 200, 10),
        ({"coefficients": "shared"}, 2, 1),
        ({"coefficients": "shared"}, 1, 0),
        ({"coefficients": "joined", "unshare_epoch": 3}, 4, 3),
        ({"coefficients": "shared", "unshare_epoch": 0}, 4, 0),
        ({"unshare_epoch": 9}, 4, 0),
    ],
)
def test_coefficients_part_when_the_options_say(options, epochs, wanted):
    assert METHOD.refine_after(METHOD.Options(**options), epochs=epochs) == wanted


def test_an_epoch_to_part_that_never_comes_is_refused():
    options = METHOD.Options(coefficients="shared", unshare_epoch=4)
    with pytest.raises(InvalidSpecError, match="not before the end of 4 epochs") as caught:
        METHOD.refine_after(options, epochs=4)
    assert caught.value.field == "/method/unshare_epoch"
