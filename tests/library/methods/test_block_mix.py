"""The method of a request that names none: equal blocks, shuffled where they are few."""

import npas
import pytest
from npas import methods

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
        plan_of(0.1, bin_by="layers")
    by_layers = plan_of(0.1, search=False, bin_by="layers", bins=12)
    assert len(by_layers.groups) > len(plan_of(0.1).groups)
