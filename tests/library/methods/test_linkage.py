"""Merging by agreement: always ends, always the same, and what is identical ends together."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from npas import methods
from npas.arch.layers import Layer, LayerTable
from npas.methods._bins import bins_of
from npas.methods._linkage import merges
from npas.methods._parts import cost, parts_of
from npas.plans.evidence import Evidence, Similarity

MANY = settings(deadline=None, derandomize=True, max_examples=100)
BY_CLASS = {"conv2d": (3, 3), "linear": ()}


def layers_of(kinds):
    return [
        Layer(
            network="main",
            name=f"{index}.weight",
            kind=kind,
            shape=(4, 4, *BY_CLASS[kind]),
            role="body",
            stage="all",
        )
        for index, kind in enumerate(kinds)
    ]


def evidence_of(layers, vectors):
    """Return the cosines of the vectors, zero vectors agreeing with nothing."""
    classes = []
    for kind in sorted({layer.kind for layer in layers}):
        rows = [i for i, layer in enumerate(layers) if layer.kind == kind]
        unit = vectors[rows] / np.maximum(np.linalg.norm(vectors[rows], axis=1), 1e-30)[:, None]
        cosine = np.clip((unit @ unit.T + (unit @ unit.T).T) / 2, -1, 1)
        names = tuple((layers[i].network, layers[i].name) for i in rows)
        matrix = tuple(tuple(map(float, row)) for row in cosine)
        classes.append(Similarity(layers=names, cosine=matrix))
    return Evidence(batches=1, classes=tuple(classes))


@st.composite
def cases(draw):
    """Layers of two kinds in bins, gradients with copies among them and zeros."""
    kinds = draw(st.lists(st.sampled_from(sorted(BY_CLASS)), min_size=1, max_size=12))
    layers = layers_of(kinds)
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    distinct = random.normal(size=(draw(st.integers(1, 6)), 5))
    distinct[0] *= draw(st.sampled_from([0, 1]))
    chosen = [draw(st.integers(0, len(distinct) - 1)) for _ in layers]
    bins = []
    for kind in sorted(set(kinds)):
        members = [layer for layer in layers if layer.kind == kind]
        cut = draw(st.integers(0, len(members)))
        bins += [tuple(part) for part in (members[:cut], members[cut:]) if part]
    return layers, bins, evidence_of(layers, distinct[chosen]), chosen, distinct


@MANY
@given(case=cases())
def test_merges_go_from_single_layers_to_one_group_per_class(case):
    layers, bins, evidence, _, _ = case
    steps = [parts for parts, _ in merges(layers, bins, evidence)]
    classes = {layer.kernel_class for layer in layers}
    assert len(steps) == len(layers) - len(classes) + 1
    assert len(steps[0]) == len(layers)
    assert len(steps[-1]) == len(classes)
    for fine, coarse in itertools.pairwise(steps):
        assert len(coarse) == len(fine) - 1
        assert len(set(fine) & set(coarse)) == len(fine) - 2
    for parts in steps:
        assert sorted(la.name for part in parts for la in part) == sorted(la.name for la in layers)
        assert all(len({layer.kernel_class for layer in part}) == 1 for part in parts)


@MANY
@given(case=cases())
def test_merges_stay_inside_bins_until_none_is_left(case):
    layers, bins, evidence, _, _ = case
    for number, (parts, agreement) in enumerate(merges(layers, bins, evidence)):
        is_inside = all(any(set(part) <= set(b) for b in bins) for part in parts)
        assert is_inside == (number <= len(layers) - len(bins))
        assert (agreement == -math.inf) == (number >= len(layers) - len(bins))


@MANY
@given(case=cases())
def test_merges_go_from_high_agreement_to_low(case):
    layers, bins, evidence, _, _ = case
    found = [agreement for _, agreement in merges(layers, bins, evidence)]
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(found))


def cut(case, threshold):
    """Return the partition where every pair that agrees more than the threshold has merged."""
    layers, bins, evidence, _, _ = case
    return next(parts for parts, a in merges(layers, bins, evidence) if a <= threshold)


@MANY
@given(case=cases(), threshold=st.floats(-1, 0.999))
def test_identical_gradients_end_together(case, threshold):
    layers, bins, _, chosen, distinct = case
    part_of = {layer: part for part in cut(case, threshold) for layer in part}
    bin_of = {layer: b for b in bins for layer in b}
    for i, one in enumerate(layers):
        for j, other in enumerate(layers):
            is_zero = not distinct[chosen[i]].any()
            if chosen[i] == chosen[j] and not is_zero and bin_of[one] == bin_of[other]:
                assert part_of[one] is part_of[other]


@MANY
@given(case=cases(), thresholds=st.tuples(st.floats(-1, 1), st.floats(-1, 1)))
def test_lower_threshold_merges_no_less(case, thresholds):
    coarse, fine = (cut(case, threshold) for threshold in sorted(thresholds))
    assert len(coarse) <= len(fine)
    assert all(any(set(part) <= set(whole) for whole in coarse) for part in fine)


@MANY
@given(case=cases())
def test_merges_are_the_same_twice(case):
    layers, bins, evidence, _, _ = case
    assert list(merges(layers, bins, evidence)) == list(merges(layers, bins, evidence))


def test_merges_without_any_agreement_end_all_the_same():
    layers = layers_of(["conv2d"] * 9)
    evidence = evidence_of(layers, np.zeros((9, 5)))
    *_, (last, agreement) = merges(layers, [tuple(layers)], evidence)
    assert last == [tuple(layers)]
    assert agreement == -math.inf


def groups_of(plan_groups):
    return {frozenset(slot.layer for slot in group.slots) for group in plan_groups}


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
def test_superweights_groups_what_agrees(threshold):
    layers = layers_of(["conv2d"] * 6)
    table = LayerTable(layers=tuple(layers), others=0)
    vectors = np.eye(5)[[0, 1, 0, 2, 1, 0]]
    method = methods.find("superweights")
    options = method.Options(bins=1, threshold=threshold, max_templates=1, blocks="nest")
    evidence = evidence_of(layers, vectors)
    found = method.allocate(table, 440, options, evidence=evidence, stage="train")
    assert groups_of(found.groups) >= {
        frozenset({"0.weight", "2.weight", "5.weight"}),
        frozenset({"1.weight", "4.weight"}),
    }


def test_superweights_merges_on_until_the_budget_holds():
    layers = layers_of(["conv2d"] * 6)
    table = LayerTable(layers=tuple(layers), others=0)
    method = methods.find("superweights")
    options = method.Options(bins=3, threshold=1.0, blocks="nest")
    least = method.smallest(table, options).num_parameters
    for budget in range(least, table.dense, 97):
        evidence = evidence_of(layers, np.eye(6))
        found = method.allocate(table, budget, options, evidence=evidence, stage="train")
        assert found.num_parameters <= budget


@MANY
@given(case=cases(), threshold=st.floats(-1, 1), data=st.data())
def test_superweights_takes_the_highest_threshold_whose_groups_fit(case, threshold, data):
    """The paper's loop, spelt out: lower the threshold until the budget holds."""
    layers, _, evidence, _, _ = case
    table = LayerTable(layers=tuple(layers), others=0)
    method = methods.find("superweights")
    nests = method._nests(table, method.Options(bins=1, threshold=threshold, max_templates=64))
    steps = list(merges(layers, bins_of(layers, 1, "depth"), evidence))
    least = cost(parts_of(steps[-1][0]))
    budget = data.draw(st.integers(least, max(least, table.dense - 1)))

    found = nests.by_agreement(budget, evidence)

    falling = sorted({a for _, a in steps if a < threshold} | {threshold}, reverse=True)
    cuts = (next(parts for parts, a in steps if a <= limit) for limit in falling)
    wanted = next(parts for parts in cuts if cost(parts_of(parts)) <= budget)
    assert cost(found) <= budget
    assert all(any(set(part.layers) <= set(whole) for whole in wanted) for part in found)
    agreements = [a for _, a in steps if a > -math.inf]
    if agreements == sorted(set(agreements), reverse=True) and falling[-1] > -math.inf:
        assert [part.layers for part in found] == wanted  # of equals, only so many merge as must
