"""A plan is JSON that adds up: it comes back byte for byte, and damage is refused."""

import copy
import json

import npas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from npas import registry
from npas.errors import InfeasibleBudgetError, NpasError, PlanError
from npas.plans import Plan
from npas.spec import ArchitectureSpec, BudgetSpec, NetworkSpec

METHODS = registry.names("npas.methods")
FUZZ = settings(deadline=None, derandomize=True, max_examples=400)
NETWORKS = [
    NetworkSpec(name="deep", architecture=ArchitectureSpec(name="resnet-14")),
    NetworkSpec(name="flat", architecture=ArchitectureSpec(name="wrn-10-1")),
]


@pytest.fixture(scope="module")
def good():
    """The plan of two small networks as a JSON value, with banks of several kinds."""
    return json.loads(npas.plan(NETWORKS, budget=BudgetSpec(fraction=0.55)).to_json())


@pytest.fixture(scope="module")
def weights():
    """The two networks, to be copied: sharing takes networks over."""
    return {network.name: npas.build(network.architecture) for network in NETWORKS}


@pytest.mark.parametrize("fraction", [0.3, 0.6, 1.0, 3.0])
@pytest.mark.parametrize("method", METHODS)
def test_plan_comes_back_byte_for_byte(method, fraction):
    try:
        plan = npas.plan(NETWORKS, budget=BudgetSpec(fraction=fraction), method=method)
    except InfeasibleBudgetError as error:
        plan = npas.plan(NETWORKS, budget=error.minimum, method=method)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert again.to_json() == plan.to_json()
    assert json.loads(plan.to_json())["version"] == (
        2 if method in ("superweights", "block_mix") else 1
    )


def paths(value, path=()):
    """Yield the path of every part of a JSON value."""
    yield path
    parts = value.items() if isinstance(value, dict) else ()
    for key, part in enumerate(value) if isinstance(value, list) else parts:
        yield from paths(part, (*path, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


ODD = st.sampled_from([None, True, 0, -1, 1, 2, 10**7, 10**18, 0.5, "", "x", [], {}, [1], "g0"])


@st.composite
def damage(draw, good):
    """Return the plan with one to three of its parts replaced, deleted, doubled or swapped."""
    value = copy.deepcopy(good)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([p for p in paths(value) if p]))
        *parents, key = path
        parent = at(value, parents)
        kind = draw(st.sampled_from(["replace", "delete", "double", "swap", "shift"]))
        if kind == "delete":
            del parent[key]
        elif kind == "double" and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        elif kind == "swap" and isinstance(parent, list):
            parent[key], parent[0] = parent[0], parent[key]
        elif kind == "shift" and isinstance(parent[key], int):
            parent[key] += draw(st.integers(-2, 2))
        else:
            parent[key] = copy.deepcopy(draw(ODD))
    return value


def balance(value):
    """Make the ledger add up again, so that the damage itself is met."""
    banks = [bank for group in value["groups"] for bank in group["banks"]]
    ledger = value["ledger"]
    ledger["templates"] = sum(bank["size"] * bank["templates"] for bank in banks)
    ledger["coefficients"] = sum(bank["rows"] * bank["templates"] for bank in banks)
    ledger["total"] = ledger["templates"] + ledger["coefficients"] + ledger["private"]
    ledger["unused"] = ledger["budget"] - ledger["total"]
    return value


def keeps_its_word(text, weights, recount):
    """Check that a plan is refused, or that it does exactly what it says."""
    try:
        plan = Plan.from_json(text)
        model = npas.share(copy.deepcopy(weights), plan)
    except NpasError:
        return
    assert recount(model) == plan.ledger.total <= plan.ledger.budget
    logits = model(torch.zeros(1, 3, 32, 32))
    assert all(z.shape == (1, 10) for z in logits.values())


@pytest.mark.slow
@FUZZ
@given(data=st.data())
def test_damaged_plan_is_refused_or_keeps_its_word(good, weights, recount, data):
    value = data.draw(damage(good))
    if data.draw(st.booleans()):
        try:
            value = balance(value)
        except (KeyError, TypeError, AttributeError):
            return
    keeps_its_word(json.dumps(value), weights, recount)


@FUZZ
@given(data=st.data())
def test_flipped_and_cut_text_is_refused_or_keeps_its_word(good, weights, recount, data):
    text = bytearray(json.dumps(good), "ascii")
    start = data.draw(st.integers(0, len(text) - 1))
    if data.draw(st.booleans()):
        del text[start : start + data.draw(st.integers(1, 50))]
    else:
        text[start] = data.draw(st.integers(0, 255))
    keeps_its_word(text.decode("latin-1"), weights, recount)


@settings(FUZZ, max_examples=100)
@given(text=st.one_of(st.text(), st.binary(), st.sampled_from(["[" * 10**5, '{"a":' * 10**5])))
def test_any_other_text_is_refused(text):
    with pytest.raises(PlanError, match="not a plan of version 1 or 2"):
        Plan.from_json(text)


@pytest.mark.parametrize(
    "change",
    [{"version": 3}, {"stage": "later"}, {"groups": None}, {"unknown": 1}, {"networks": []}],
)
def test_plan_of_another_kind_is_refused(good, change):
    with pytest.raises(PlanError, match=f"not a plan of version 1 or 2: {next(iter(change))}"):
        Plan.from_json(json.dumps(good | change))


def test_share_refuses_a_plan_that_hides_parameters():
    """A layer taken out of its group would be plain beside a ledger that does not count it."""
    plan = npas.plan("resnet-20", method="soft_sharing", templates=1)
    value = json.loads(plan.to_json())
    del value["groups"][0]["slots"][-1]
    value["groups"][0]["banks"][0]["rows"] -= 1
    with pytest.raises(PlanError, match="stay outside groups"):
        npas.share(npas.build("resnet-20"), Plan.from_json(json.dumps(balance(value))))


def test_share_refuses_other_networks(good, weights):
    plan = Plan.from_json(json.dumps(good))
    other = npas.build("resnet-20")
    for wrong in (other, {"deep": other}, {"deep": weights["deep"], "flat": other}):
        with pytest.raises(PlanError):
            npas.share(copy.deepcopy(wrong), plan)


def test_share_refuses_networks_that_share_already(good, weights):
    plan = Plan.from_json(json.dumps(good))
    networks = copy.deepcopy(weights)
    npas.share(networks, plan)
    with pytest.raises(PlanError, match="has no layer"):
        npas.share(networks, plan)


def test_plan_is_frozen(good):
    plan = Plan.from_json(json.dumps(good))
    with pytest.raises(ValueError, match="frozen"):
        plan.minimum = 1
