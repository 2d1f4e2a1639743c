"""Declared networks: they do what the list says, and a list that does not fit says where."""

import json
import re
from pathlib import Path
from typing import get_args

import npas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from npas import arch, registry
from npas.arch.families import _declared_build
from npas.errors import InfeasibleBudgetError, InvalidSpecError
from npas.sharing.measure import gradient_agreement
from npas.spec import ArchitectureSpec, BudgetSpec, PlanRequest
from npas.spec.declared import AnyItem, LayerList
from pydantic import TypeAdapter, ValidationError
from torch import nn

HEAD = [{"kind": "pool", "function": "global"}, {"kind": "linear"}]
CONV = {"kind": "conv", "channels": 8}
RELU = {"kind": "activation"}
RESIDUAL = [
    {"kind": "conv", "channels": 16},
    {
        "kind": "repeat",
        "times": 3,
        "body": [
            {
                "kind": "residual",
                "body": [{"kind": "norm"}, RELU, {"kind": "conv", "channels": 16}],
            }
        ],
    },
    {
        "kind": "concat",
        "branches": [
            [{"kind": "conv", "channels": 8, "dilation": 2}],
            [{"kind": "pool", "size": 3, "stride": 1, "padding": 1}],
            [{"kind": "conv", "channels": 12, "groups": 4, "kernel": 5}],
        ],
    },
    {
        "kind": "residual",
        "body": [{"kind": "conv", "channels": 32, "stride": 2}],
        "shortcut": [{"kind": "conv", "channels": 32, "stride": 2, "kernel": 1}],
    },
    {"kind": "conv", "channels": 32, "groups": "depthwise"},
    *HEAD,
]
ROWS = [
    {"kind": "steps"},
    {"kind": "linear", "outputs": 24},
    {"kind": "recurrent", "outputs": 12, "layers": 2, "both_directions": True},
    {"kind": "recurrent", "cell": "gru", "outputs": 24},
    {"kind": "residual", "body": [{"kind": "norm", "function": "layer"}, {"kind": "attention"}]},
    *HEAD,
]
DEEP = [CONV, {"kind": "norm"}, RELU] * 3 + HEAD
LISTS = {"residual": RESIDUAL, "rows": ROWS, "deep": DEEP}
every_list = pytest.mark.parametrize("name", LISTS)


def declared(layers, **fields):
    return ArchitectureSpec(name="declared", layers=layers, **fields)


def adapted(layers):
    return TypeAdapter(LayerList).validate_python(layers)


def images(size=8, channels=3):
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))


def test_lenet_has_its_published_size():
    """LeCun et al.: about 60,000 parameters; today's usual build has 61,706."""
    spec = ArchitectureSpec(name="declared:lenet", input_channels=1)
    assert npas.plan(spec, method="dense").ledger.total == 61_706


def test_list_makes_the_modules_it_says():
    network = npas.build(declared([CONV, {"kind": "norm"}, RELU, *HEAD], input_size=8))
    torch.manual_seed(0)
    by_hand = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)),
    )
    for own, other in zip(network.parameters(), by_hand.parameters(), strict=True):
        other.data.copy_(own)
    torch.testing.assert_close(network(images()), by_hand(images()))


def test_repeated_layers_have_weights_of_their_own():
    network = npas.build(declared(RESIDUAL, input_size=8))
    convolutions = [m for m in network[1].modules() if isinstance(m, nn.Conv2d)]
    assert len({id(m.weight) for m in convolutions}) == len(convolutions) == 3


@every_list
@pytest.mark.parametrize("method", registry.names("npas.methods"))
def test_declared_network_is_planned_shared_saved_and_trained(name, method, tmp_path, recount):
    spec = declared(LISTS[name], num_classes=4, input_size=8)
    try:
        plan = npas.plan(spec, budget=BudgetSpec(fraction=0.7), method=method)
    except InfeasibleBudgetError as error:
        plan = npas.plan(spec, budget=error.minimum, method=method)
    shared = npas.share(npas.build(plan.networks[0].architecture, seed=1), plan)
    assert recount(shared) == plan.ledger.total <= plan.ledger.budget
    loss = nn.functional.cross_entropy(shared(images()), torch.tensor([1, 3]))
    loss.backward()
    assert all(p.grad is not None for p in shared.parameters())
    npas.save(shared, tmp_path / "file")
    loaded = npas.load(tmp_path / "file")
    with torch.no_grad():
        assert torch.equal(loaded(images()), shared.eval()(images()))
    assert loaded.plan == plan


@every_list
def test_declared_network_survives_json(name):
    spec = declared(LISTS[name])
    request = PlanRequest(architecture=spec, budget=1_000_000)
    again = PlanRequest.model_validate_json(request.model_dump_json())
    assert again == request
    assert npas.plan(again) == npas.plan(request)


def test_first_layer_is_the_stem_and_the_last_the_classifier():
    table = arch.layer_table(npas.plan(declared(RESIDUAL), method="dense").networks)
    roles = {layer.name: layer.role for layer in table.layers}
    assert roles.pop("0.weight") == "stem"
    assert roles.pop("6.weight") == "classifier"
    assert roles.pop("3.shortcut.0.weight") == "shortcut"
    assert set(roles.values()) == {"body"}
    kinds = {layer.name: layer.kind for layer in table.layers}
    assert (kinds["2.branches.2.0.weight"], kinds["4.weight"]) == ("grouped", "depthwise")


NUMBERS = st.integers(1, 5)
ITEMS = st.one_of(
    st.fixed_dictionaries(
        {"kind": st.just("conv"), "channels": st.sampled_from([4, 8])},
        optional={
            "kernel": NUMBERS,
            "stride": st.integers(1, 3),
            "dilation": st.integers(1, 3),
            "padding": st.integers(0, 3),
            "groups": st.sampled_from([1, 2, "depthwise"]),
            "transposed": st.booleans(),
        },
    ),
    st.fixed_dictionaries(
        {"kind": st.just("pool")},
        optional={
            "function": st.sampled_from(["max", "average", "global"]),
            "size": NUMBERS,
            "stride": NUMBERS,
            "padding": st.integers(0, 2),
        },
    ),
    st.fixed_dictionaries(
        {"kind": st.just("norm"), "function": st.sampled_from(["batch", "group", "layer"])}
    ),
    st.fixed_dictionaries({"kind": st.just("steps"), "of": st.sampled_from(["rows", "places"])}),
    st.fixed_dictionaries({"kind": st.just("linear")}, optional={"outputs": NUMBERS}),
    st.fixed_dictionaries({"kind": st.just("recurrent"), "outputs": NUMBERS}),
    st.just({"kind": "attention"}),
    st.just({"kind": "flatten"}),
)
BODIES = st.lists(ITEMS, min_size=1, max_size=4)
NESTED = st.lists(
    ITEMS
    | st.fixed_dictionaries({"kind": st.just("residual"), "body": BODIES, "shortcut": BODIES})
    | st.fixed_dictionaries({"kind": st.just("concat"), "branches": st.lists(BODIES, min_size=1)})
    | st.fixed_dictionaries({"kind": st.just("repeat"), "times": st.just(2), "body": BODIES}),
    min_size=1,
    max_size=6,
)


def test_every_kind_of_layer_has_a_builder():
    kinds = get_args(get_args(AnyItem)[0])
    assert len(kinds) == 13
    build = _declared_build._Builder.__dict__["layer"].dispatcher
    unknown = build.dispatch(object)
    assert [kind for kind in kinds if build.dispatch(kind) is unknown] == []


@settings(deadline=None, derandomize=True, max_examples=150)
@given(layers=NESTED, size=st.integers(4, 12))
def test_shapes_that_are_told_are_those_of_torch(layers, size):
    """A list is refused with its place, or built, and then every shape is the one foretold."""
    builder = _declared_build._Builder(5, 1.0)
    try:
        network, shape = builder.sequence(adapted(layers), (3, size, size), "/architecture/layers")
    except InvalidSpecError as error:
        found = {"architecture": {"layers": layers}}
        for part in error.field.split("/")[1:]:
            found = found[int(part)] if isinstance(found, list) else found[part]
        assert found["kind"]
        return
    network.eval()
    assert network(images(size)).shape == (2, *shape)


@pytest.mark.parametrize(
    ("layers", "field", "match"),
    [
        ([CONV, {"kind": "linear"}], "1", "linear reads a vector .* not an image .*8, 32, 32"),
        ([CONV, CONV], "1", "end in an image .*not in num_classes = 10"),
        ([{**CONV, "padding": 0, "kernel": 40}, *HEAD], "0", "at least 1 each"),
        ([{**CONV, "groups": 2}, *HEAD], "0", "groups 2 must divide the 3 channels"),
        ([{"kind": "residual", "body": [CONV]}, *HEAD], "0", "body makes .8, 32, 32. of .3, 32"),
        (
            [{"kind": "residual", "body": [CONV, {"kind": "repeat", "times": 2, "body": HEAD}]}],
            "0/body/1/body/0",
            "pool reads a sequence .* or an image .*, not a vector",
        ),
        (
            [{"kind": "concat", "branches": [[CONV], [{**CONV, "stride": 2}]]}, *HEAD],
            "0",
            "all but the channels must be the same",
        ),
        (
            [{"kind": "steps"}, {"kind": "attention", "heads": 7}, *HEAD],
            "1",
            "heads 7 must divide",
        ),
        ([{"kind": "pool", "padding": 2}, *HEAD], "0", "at most half the size 2"),
        ([{**CONV, "transposed": True, "stride": 64}] * 3 + HEAD, "1", "at most 67,108,864"),
    ],
)
def test_layer_that_does_not_fit_is_named(layers, field, match):
    with pytest.raises(InvalidSpecError, match=match) as caught:
        npas.plan(declared(layers))
    assert caught.value.field == f"/architecture/layers/{field}"


def nested(times):
    layers = [CONV]
    for _ in range(times):
        layers = [{"kind": "repeat", "times": 2, "body": layers}]
    return layers


@pytest.mark.parametrize(
    ("layers", "match"),
    [
        ([], "at least 1 item"),
        ([{"kind": "convolution", "channels": 3}], "'convolution' found using 'kind'"),
        ([{"kind": "conv"}], "Field required"),
        ([{"kind": "conv", "channels": 0}], "greater than or equal to 1"),
        ([{"kind": "conv", "channels": 8, "weights": 1}], "Extra inputs"),
        ([{"kind": "conv", "channels": 10**9}], "less than or equal to 65536"),
        (nested(8), "nest at most 8 deep"),
        (nested(200), "."),
        ([{"kind": "repeat", "times": 1000, "body": [CONV] * 5}], "5,001 layers; at most 4,000"),
        ([{"kind": "repeat", "times": 10**9, "body": [CONV]}], "less than or equal to 1000"),
        (None, "give layers for the name 'declared'"),
    ],
)
def test_list_that_is_no_network_is_refused(layers, match):
    with pytest.raises(ValidationError, match=match):
        declared(layers)
    with pytest.raises(InvalidSpecError):
        npas.build({"name": "declared", "layers": layers})


@pytest.mark.parametrize("function", [npas.build, npas.plan], ids=["build", "plan"])
@pytest.mark.parametrize(
    ("layer", "place", "told"),
    [
        ({"kind": "conv", "channels": 8, "kernel": 0}, "/kernel", "greater than.*given: 0"),
        ({"kind": "conv"}, "/channels", "is needed"),
        ({"kind": "conv", "channels": 8, "size": 1}, "/size", "there is no such field"),
        ({"kind": "conv", "channels": 8, "groups": "x"}, "/groups", "valid integer or 'depthw"),
        ({"kind": "cnov"}, "", "'conv', 'norm'.*given: {'kind': 'cnov'}"),
        ("conv", "", "given: 'conv'"),
    ],
)
def test_layer_that_is_none_is_named_with_its_place(function, layer, place, told):
    for outer in ({"kind": "repeat", "times": 2}, {"kind": "residual"}):
        layers = [CONV, {**outer, "body": [CONV, layer]}, *HEAD]
        with pytest.raises(InvalidSpecError) as caught:
            function({"name": "declared", "layers": layers})
        assert caught.value.field == f"/architecture/layers/1/body/1{place}"
        assert re.search(f"{caught.value.field}: .*{told}", caught.value.message)
    with pytest.raises(InvalidSpecError) as caught:
        function({"name": "declared", "layers": [{"kind": "concat", "branches": [[layer]]}]})
    assert caught.value.field == f"/architecture/layers/0/branches/0/0{place}"


@pytest.mark.parametrize("function", [npas.build, npas.plan], ids=["build", "plan"])
def test_list_without_its_name_is_told_how_to_be_given(function):
    with pytest.raises(InvalidSpecError, match=r'{"name": "declared", "layers": \[...\]}'):
        function([CONV, *HEAD])


def test_other_names_take_no_layers():
    with pytest.raises(ValidationError, match="for no other"):
        ArchitectureSpec(name="wrn-10-1", layers=DEEP)


def test_declared_network_that_is_too_large_is_refused():
    layers = [{"kind": "repeat", "times": 30, "body": [{"kind": "conv", "channels": 3000}]}, *HEAD]
    with pytest.raises(InvalidSpecError, match="at most 1,000,000,000"):
        npas.plan(declared(layers))


def test_narrower_scales_channels_unless_groups_fix_them():
    spec = arch.resolve(declared(DEEP))
    family = arch.family_of(spec)
    narrow = npas.build(family.narrower(spec, 0.5), device="meta")
    assert narrow[0].weight.shape == (4, 3, 3, 3)
    assert narrow[-1].weight.shape == (10, 4)
    assert family.narrower(arch.resolve(declared(RESIDUAL)), 0.5) is None


def test_gradients_of_every_kind_are_measured():
    spec = declared(ROWS, num_classes=4, input_size=8)
    plan = npas.plan(spec, budget=BudgetSpec(fraction=0.8), stage="search")
    shared = npas.share(npas.build(spec, seed=1), plan, seed=1)
    evidence = gradient_agreement(shared, [(images(), torch.tensor([1, 3]))])
    cosines = {
        name: row for c in evidence.classes for name, row in zip(c.layers, c.cosine, strict=True)
    }
    assert {layer for _, layer in cosines} >= {
        *("2.layer.weight_hh_l1_reverse", "3.layer.weight_ih_l0"),
        *("4.body.1.attention.in_proj_weight", "6.weight"),
    }
    for row in cosines.values():
        assert max(row) > 0.999, "a layer agrees with itself, unless no gradient reached it"


def test_list_in_the_readme_is_a_network():
    readme = (Path(__file__).resolve().parents[3] / "README.md").read_text()
    (block,) = re.findall(r"^```json\n(\[.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    plan = npas.plan(declared(json.loads(block)), method="dense")
    assert len(plan.private) == 6
