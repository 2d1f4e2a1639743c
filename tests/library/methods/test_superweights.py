"""The name means what its paper means: nested or equal blocks, groups by agreement, no more."""

import json
import warnings
from pathlib import Path

import npas
import numpy as np
import pytest
from npas import arch, methods
from npas.errors import InvalidSpecError, PlanError
from npas.plans.evidence import Evidence, Similarity

NETWORKS = ["wrn-16-1", "wrn-28-10", "resnet-20", "densenet-100-12", "torchvision:mobilenet_v2"]
FRACTIONS = [0.05, 0.1, 0.24, 0.5, 0.9]
KEPT = json.loads((Path(__file__).parent / "kept" / "plans.json").read_text())
"""Plans that the first release made by this name: they are never written anew."""


def plan_of(network, fraction, **options):
    return npas.plan(network, budget={"fraction": fraction}, method="superweights", **options)


def least(network):
    plan = npas.plan(network, method="superweights")
    return plan.minimum / plan.dense


def evidence_of(plan, seed, *, energy=1.0):
    """Return cosines below 0.1, as a short search finds them, drawn with a seed, and energies."""
    draw = np.random.default_rng(seed)
    classes = {}
    for layer in arch.planned_layers(plan):
        classes.setdefault(layer.kernel_class, []).append(layer)
    found = []
    for layers in classes.values():
        upper = np.triu(draw.uniform(-0.09, 0.09, (len(layers), len(layers))), 1)
        cosine = tuple(map(tuple, (upper + upper.T + np.eye(len(layers))).tolist()))
        names = tuple(layer.key for layer in layers)
        sizes = tuple(energy**i * layer.size for i, layer in enumerate(layers))
        found.append(Similarity(layers=names, cosine=cosine, energy=sizes))
    return Evidence(batches=1, classes=tuple(found))


def partition(plan):
    return {frozenset(slot.layer for slot in group.slots) for group in plan.groups}


@pytest.mark.parametrize("network", NETWORKS)
def test_blocks_nest_or_are_equal_and_are_never_shuffled(network):
    for fraction in (f for f in FRACTIONS if f >= least(network)):
        for evidence in (None, evidence_of(npas.plan(network, method="dense"), 0)):
            plan = plan_of(network, fraction, evidence=evidence)
            assert {group.recipe for group in plan.groups} <= {"nest", "stack"}
            assert all(group.settings == {} for group in plan.groups)


@pytest.mark.parametrize("fraction", [0.1, 0.5])
@pytest.mark.parametrize("network", ["wrn-16-1", "resnet-20"])
def test_other_agreement_makes_other_groups(network, fraction):
    """What the method is: at 10 % blocks are equal, at 50 % they nest."""
    dense = npas.plan(network, method="dense")
    found = {
        frozenset(partition(plan_of(network, fraction, evidence=evidence_of(dense, seed))))
        for seed in range(10)
    }
    assert len(found) > 2


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_how_long_gradients_are_says_nothing(fraction):
    dense = npas.plan("wrn-16-1", method="dense")
    even, steep = (evidence_of(dense, 0, energy=energy) for energy in (1.0, 3.0))
    assert plan_of("wrn-16-1", fraction, evidence=even) == plan_of(
        "wrn-16-1", fraction, evidence=steep
    )


def test_equal_blocks_only_where_nested_ones_do_not_fit():
    nested = npas.plan("wrn-28-10", method="superweights", blocks="nest").minimum
    below, at = (
        npas.plan("wrn-28-10", budget=nested + more, method="superweights") for more in (-1, 0)
    )
    assert {group.recipe for group in below.groups} == {"stack"}
    assert {group.recipe for group in at.groups} == {"nest"}


def test_equal_blocks_of_layers_that_agree_are_one_group():
    dense = npas.plan("wrn-16-1", method="dense")
    halves = {}
    for layer in arch.planned_layers(dense):
        halves.setdefault(layer.kernel_class, []).append(layer.key)
    classes = []
    for names in halves.values():
        side = np.arange(len(names)) % 2
        cosine = np.where(side[:, None] == side[None, :], 1.0, -1.0)
        classes.append(Similarity(layers=tuple(names), cosine=tuple(map(tuple, cosine.tolist()))))
    evidence = Evidence(batches=1, classes=tuple(classes))
    plan = plan_of("wrn-16-1", 0.1, evidence=evidence, bins=6)
    of = {name: layers for layers in partition(plan) for name in layers}
    together = [name for names in halves.values() for _, name in names[::2] if name in of]
    apart = [name for names in halves.values() for _, name in names[1::2] if name in of]
    assert together
    assert not any(name in of[other] for name in together for other in apart)


def test_options_that_a_stack_has_no_use_for_are_warned_of():
    with pytest.warns(UserWarning, match="option allocation of superweights does nothing"):
        plan_of("wrn-28-10", 0.05, allocation="normalised")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan_of("wrn-28-10", 0.5, coefficients="shared", allocation="normalised")
        plan_of("wrn-28-10", 0.05, coefficients="shared")


def test_options_of_the_block_mix_are_refused_and_named():
    with pytest.raises(InvalidSpecError, match="'keep_plain' is an option of block_mix"):
        plan_of("wrn-28-10", 0.05, keep_plain=True)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("shuffled", "block_mix"),
        ("stacked", "block_mix"),
        ("nested", "superweights"),
        ("plain", "superweights"),
    ],
)
def test_plans_of_the_first_release_know_who_made_them(name, method):
    text = json.dumps(KEPT[name], sort_keys=True, separators=(",", ":"))
    plan = npas.Plan.from_json(text)
    assert plan.to_json() == text
    found, options = methods.planned_by(plan)
    assert found is methods.find(method)
    asked = {
        key: value for key, value in plan.options.items() if key in found.Options.model_fields
    }
    searched = {"search": True} if method == "block_mix" else {}
    assert options == found.Options.model_validate({**searched, **asked})
    again = npas.plan(
        plan.networks, budget=plan.ledger.budget, method=methods.maker_of(plan), dataset="digits"
    )
    shapes = [
        [(group.recipe, group.settings, group.banks, len(group.slots)) for group in each.groups]
        for each in (plan, again)
    ]
    assert shapes[0] == shapes[1]


def test_plans_of_today_say_that_the_name_means_the_paper():
    stacked = plan_of("wrn-28-10", 0.05)
    assert {group.recipe for group in stacked.groups} == {"stack"}
    assert methods.planned_by(npas.Plan.from_json(stacked.to_json()))[0].title.startswith("Super")
    assert (stacked.version, npas.plan("wrn-28-10", budget=9_000_000, method="ssn").version) == (
        2,
        1,
    )
    with pytest.raises(PlanError, match="not a plan of version 1 or 2: version"):
        npas.Plan.from_json(stacked.to_json().replace('"version":2', '"version":3'))
