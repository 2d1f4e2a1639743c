"""Equal blocks: what a budget buys, and which layers keep weights of their own."""

import npas
import pytest
from npas import arch
from npas.plans.evidence import Evidence, Similarity

NETWORK = "wrn-16-1"


def plan_of(fraction, network=NETWORK, evidence=None, **options):
    return npas.plan(
        network,
        budget={"fraction": fraction},
        dataset="cifar10",
        evidence=evidence,
        **options,
    )


def measured(plan, densities=None):
    """Return evidence of no agreement, and of energies for each scalar, 1 where not given."""
    classes = {}
    for layer in arch.planned_layers(plan):
        classes.setdefault(layer.kernel_class, []).append(layer)
    found = []
    for layers in classes.values():
        eye = tuple(tuple(float(a is b) for b in layers) for a in layers)
        names = tuple(layer.key for layer in layers)
        energy = ()
        if densities is not None:
            energy = tuple(densities.get(layer.name, 1.0) * layer.size for layer in layers)
        found.append(Similarity(layers=names, cosine=eye, energy=energy))
    return Evidence(batches=1, classes=tuple(found))


def shared(plan):
    return {slot.layer for group in plan.groups for slot in group.slots}


def test_blocks_have_no_borders_where_layers_can_be_cut_evenly():
    bank = plan_of(0.5, keep_plain=False).groups[0].banks[0]
    # 16 divides all sides of the body: 73 blocks hold its weights and nothing else.
    assert bank.shape == (16, 16, 3, 3)
    assert bank.templates / bank.rows > 0.45


@pytest.mark.parametrize("network", [NETWORK, "densenet-100-12", "resnext-29-2x16"])
@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.25, 0.5, 0.8])
def test_most_of_a_budget_are_templates_and_plain_weights(network, fraction):
    ledger = plan_of(fraction, network).ledger
    assert ledger.coefficients < 0.1 * ledger.total
    assert ledger.total > 0.9 * ledger.budget


def test_layers_of_the_largest_gradients_for_their_size_keep_plain_weights():
    blind = plan_of(0.25, search=True)
    small, large = "stages.0.1.conv1.weight", "stages.2.1.conv1.weight"
    assert {small, large} <= shared(blind)
    # The large layer has more energy in all, but less for each of its scalars.
    evidence = measured(blind, {small: 50.0, large: 4.0})
    assert shared(plan_of(0.25, search=True, evidence=evidence)) == shared(blind) - {small}
    assert shared(plan_of(0.25, search=True, evidence=evidence, keep_plain=False)) == shared(blind)
    assert shared(plan_of(0.25, search=True, evidence=measured(blind, {}))) == shared(blind)
    assert shared(plan_of(0.25, search=True, evidence=measured(blind))) == shared(blind)


def test_a_layer_that_does_not_fit_shares_whatever_its_gradient():
    blind = plan_of(0.1, search=True)
    evidence = measured(blind, {"stages.2.1.conv1.weight": 1e6})
    assert shared(plan_of(0.1, search=True, evidence=evidence)) == shared(blind)
