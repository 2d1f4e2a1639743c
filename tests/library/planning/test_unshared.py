"""What a user keeps out of sharing stays out, and counts; the rest keeps the laws."""

import math

import npas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from npas import arch, registry
from npas.arch.layers import LayerTable
from npas.arch.unshared import without
from npas.errors import InfeasibleBudgetError, InvalidSpecError
from npas.sharing.measure import gradient_agreement
from npas.spec import ArchitectureSpec, BudgetSpec, NetworkSpec, PlanRequest
from pydantic import ValidationError

METHODS = registry.names("npas.methods")
every_method = pytest.mark.parametrize("method", METHODS)
NETWORKS = [
    NetworkSpec(name="small", architecture=ArchitectureSpec(name="wrn-10-1")),
    NetworkSpec(name="large", architecture=ArchitectureSpec(name="wrn-16-2")),
]


def plan_of(method="block_mix", networks=NETWORKS, fraction=0.7, **keywords):
    try:
        budget = BudgetSpec(fraction=fraction)
        return npas.plan(networks, budget=budget, method=method, **keywords)
    except InfeasibleBudgetError as error:
        return npas.plan(networks, budget=error.minimum, method=method, **keywords)


def private(plan):
    return {f"{layer.network}/{layer.layer}" for layer in plan.private}


@every_method
@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ("stem", lambda name: name.endswith("/conv.weight")),
        ("conv2d", lambda name: "fc" not in name),
        ("large/*", lambda name: name.startswith("large")),
        ("stages.1.0.conv?.*", lambda name: "stages.1.0.conv" in name),
    ],
)
def test_layers_that_an_entry_stands_for_stay_private(method, entry, match, covers):
    plan = plan_of(method, unshared=[entry])
    table = arch.layer_table(plan.networks)
    wanted = {name for la in table.layers if match(name := f"{la.network}/{la.name}")}
    assert wanted
    assert wanted <= private(plan)
    covers(table, plan.groups, plan.private)
    assert plan.ledger.total <= plan.ledger.budget
    assert plan.ledger.dense == table.dense


@every_method
def test_without_any_layer_left_the_network_is_dense(method):
    plan = npas.plan(NETWORKS, method=method, unshared="*")
    assert plan.groups == ()
    assert plan.ledger.total == plan.ledger.dense == plan.ledger.private >= plan.minimum


@every_method
def test_sharing_and_training_keep_the_private_weights(method, recount):
    plan = plan_of(method, "wrn-10-1", unshared=["stem", "stages.2.*"])
    network = npas.build(plan.networks[0].architecture, seed=4)
    before = network.get_parameter("stages.2.0.conv2.weight").detach().clone()
    shared = npas.share(network, plan)
    assert recount(shared) == plan.ledger.total
    assert torch.equal(shared.network("main").get_parameter("stages.2.0.conv2.weight"), before)
    shared(torch.randn(2, 3, 8, 8)).sum().backward()
    assert shared.network("main").get_parameter("conv.weight").grad is not None


def test_evidence_of_a_plan_with_private_layers_refines_it():
    keywords = {"networks": "wrn-10-1", "unshared": ["shortcut"], "fraction": 0.9}
    search = plan_of(stage="search", **keywords)
    shared = npas.share(npas.build("wrn-10-1"), search)
    batch = (torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 3]))
    evidence = gradient_agreement(shared, [batch])
    plan = plan_of(evidence=evidence, **keywords)
    assert {name for name in private(plan) if "shortcut" in name}


@settings(deadline=None, derandomize=True, max_examples=60)
@given(data=st.data(), table=st.from_type(LayerTable))
def test_table_without_layers_counts_them_as_others(data, table):
    words = [
        word for la in table.layers for word in (la.kind, la.role, la.name, la.network + "/*")
    ]
    entries = data.draw(st.lists(st.sampled_from(words), max_size=3))
    rest = without(table, entries)
    assert rest.dense == table.dense
    assert set(rest.layers) <= set(table.layers)
    assert (rest == table) == (not entries)
    assert without(table, ["*"]) == LayerTable(layers=(), others=table.dense)


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ("stgaes.2.*", "near it: stages.2."),
        ("depthwize", "near it: depthwise"),
        ("depthwise", "there is no such layer; there are body, classifier, conv2d"),
        ("other/*", "no layer's name"),
    ],
)
def test_entry_that_stands_for_nothing_is_refused(entry, match):
    with pytest.raises(InvalidSpecError, match=match) as caught:
        plan_of(unshared=["stem", entry])
    assert caught.value.field == "/unshared/1"


def test_entries_must_be_strings():
    with pytest.raises(InvalidSpecError, match="must be strings"):
        plan_of(unshared=[3])
    with pytest.raises(ValidationError):
        PlanRequest.model_validate({"architecture": "wrn-10-1", "budget": 1, "unshared": "stem"})


def test_request_brings_its_entries_along():
    request = PlanRequest.model_validate(
        {
            "architecture": "wrn-16-2",
            "budget": {"fraction": 0.8},
            "unshared": ["stem", "*.0.conv1.*"],
        }
    )
    assert request == PlanRequest.model_validate_json(request.model_dump_json())
    plan = npas.plan(request)
    assert plan == plan_of(networks="wrn-16-2", fraction=0.8, unshared=request.unshared)
    assert plan != plan_of(networks="wrn-16-2", fraction=0.8)
    with pytest.raises(InvalidSpecError, match="has its own"):
        npas.plan(request, unshared=["stem"])


def test_refusal_says_what_unshared_layers_cost():
    kept = npas.plan("resnet-8", method="dense").private
    size = sum(math.prod(layer.shape) for layer in kept if layer.layer.startswith("stages.2."))
    with pytest.raises(InfeasibleBudgetError, match="keep fewer layers unshared") as caught:
        npas.plan("resnet-8", budget=10_000, unshared=["stages.2.*"])
    assert caught.value.unshared == size
    assert f"({size:,} of them kept private by unshared)" in caught.value.message


@pytest.mark.parametrize(("method", "unshared"), [("block_mix", []), ("dense", ["stages.2.*"])])
def test_refusal_says_nothing_of_unshared_layers_that_change_nothing(method, unshared):
    with pytest.raises(InfeasibleBudgetError) as caught:
        npas.plan("resnet-8", budget=100, method=method, unshared=unshared)
    assert caught.value.unshared == 0
    assert "unshared" not in caught.value.message


@pytest.mark.parametrize("unshared", [3, [3], {"stem": 1}.values()])
def test_unshared_that_are_no_strings_are_refused(unshared):
    with pytest.raises(InvalidSpecError, match="must be strings, such as") as caught:
        npas.plan("resnet-8", unshared=unshared)
    assert caught.value.field == "/unshared"
