"""The method of a request that names none: equal blocks, shuffled where they are few."""

import npas
import pytest
from npas import arch, methods
from npas.arch import uses
from npas.arch.costs import costs
from npas.methods.block_mix import most_moved
from torch import nn

METHOD = "block_mix"


def plan_of(fraction, network="wrn-28-10", **options):
    return npas.plan(network, budget={"fraction": fraction}, method=METHOD, **options)


def test_a_request_without_a_method_gets_it():
    plan = npas.plan("wrn-28-10", budget={"fraction": 0.1})
    assert plan == plan_of(0.1)
    request = npas.spec.PlanRequest.model_validate({"architecture": "resnet-8", "budget": 60_000})
    assert request.method.name == METHOD


def test_below_a_quarter_it_is_one_bank_of_two_templates_in_orders_of_the_blocks_own():
    plan = plan_of(0.1)
    largest = max(plan.groups, key=lambda group: group.num_dense)
    assert largest.settings == {"shuffled": 0}
    assert largest.banks[0].templates <= 2
    assert plan.ledger.coefficients < 200 < 1_000_000 < plan.ledger.total
    assert all(group.settings == {} for group in plan_of(0.5).groups)


@pytest.mark.parametrize("word", ["random", "a quarter", "ours"])
def test_its_title_says_what_it_is(word):
    assert word in methods.find(METHOD).title


@pytest.mark.parametrize(
    ("options", "name"),
    [({"max_templates": 9}, "max_templates"), ({"threshold": 0.5}, "threshold")],
)
def test_options_that_have_no_say_are_warned_of(options, name):
    with pytest.warns(UserWarning, match=f"option {name} of block_mix does nothing"):
        plan_of(0.1, **options)


def test_bins_by_layers_have_a_say_without_a_search_alone():
    with pytest.warns(UserWarning, match="option bin_by of block_mix does nothing"):
        plan_of(0.1, search=True, bin_by="layers")
    by_layers = plan_of(0.1, bin_by="layers", bins=12)
    assert len(by_layers.groups) > len(plan_of(0.1).groups)


def macs_of(network):
    """Return multiply-adds for each scalar, by layer."""
    (spec,) = npas.plan(network).networks
    rows = costs(spec.architecture)
    sizes = {layer.name: layer.size for layer in arch.layer_table((spec,)).layers}
    found = {name: row.macs for row in rows for name in row.holds if name in sizes}
    return {name: found[name] / sizes[name] for name in sizes}


@pytest.mark.parametrize("network", ["wrn-16-2", "densenet-22-12", "vit-4-48-2"])
def test_layers_that_are_used_most_keep_plain_weights(network):
    each = macs_of(network)
    plan = plan_of(0.5, network)
    plain = {layer.layer for layer in plan.private} - {
        layer.name for layer in arch.planned_layers(plan) if layer.role in ("classifier", "stem")
    }
    blocks = {
        slot.layer for group in plan.groups if group.recipe == "stack" for slot in group.slots
    }
    assert plain
    assert min(each[name] for name in plain) >= max((each[name] for name in blocks), default=0)
    without = plan_of(0.5, network, keep_plain=False)
    assert len(without.private) < len(plan.private)


@pytest.mark.parametrize("part", [0.05, 0.2, 0.5, 0.9])
def test_layers_are_taken_by_what_they_are_used_for_each_scalar(part):
    """Of kinds of which a few may be left that save nothing when they share, as well."""
    networks = npas.plan("torchvision:mobilenet_v2").networks
    layers = uses.counted(arch.layer_table(networks), networks).layers
    spare = int(part * sum(layer.size for layer in layers))
    taken = most_moved(layers, spare, {layer: float(layer.macs) for layer in layers})
    each = {layer: layer.macs / layer.size for layer in layers}
    rest = [each[layer] for layer in layers if layer not in taken]
    assert bool(taken) == (part >= 0.2)
    assert min((each[layer] for layer in taken), default=max(rest)) >= max(rest)
    assert sum(layer.size for layer in taken) <= spare


def test_a_network_that_cannot_be_counted_shares_all_the_same():
    module = nn.Sequential(*(nn.Linear(64, 64) for _ in range(6)))
    plan = npas.plan(module, budget={"fraction": 0.3}, method=METHOD)
    assert plan == npas.plan(module, budget={"fraction": 0.3}, method=METHOD)
    assert plan.groups


@pytest.mark.parametrize("options", [{}, {"search": False}, {"bins": 2}])
def test_plans_of_version_1_were_made_with_a_search_or_by_depth(options):
    spec = npas.spec.MethodSpec(name=METHOD, **options)
    found = methods.find(METHOD).formerly(spec, ())
    if options.get("search", True):
        assert found.options == {"search": True, **options}
    else:
        assert found.options == {"search": False, "bins": 4, "keep_plain": False}
