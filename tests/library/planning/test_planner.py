"""Whatever is wrong with a request is said in one sentence, and never a stray exception."""

from fractions import Fraction

import npas
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from npas import arch, methods, recipes, registry
from npas.errors import (
    DataError,
    InfeasibleBudgetError,
    InvalidSpecError,
    NpasError,
    UnknownNameError,
)
from npas.spec import (
    ArchitectureSpec,
    BudgetSpec,
    DatasetSpec,
    JobSpec,
    MethodSpec,
    NetworkSpec,
    PlanRequest,
)
from pydantic import ValidationError

SMALL = NetworkSpec(name="a", architecture=ArchitectureSpec(name="resnet-8"))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("wrn-28", "wrn-28-"),
        ("wrn28-10", "wrn-28-10"),
        ("resnet50", r"did you mean timm:resnet50 or torchvision:resnet50\?"),
        ("Wide_ResNet50_2", r"did you mean torchvision:wide_resnet50_2\?"),
        ("vgg17", "did you mean torchvision:vgg1"),
        ("WRN-28-10", r"did you mean wrn-28-10\?"),
        ("lenet", r"did you mean declared:lenet\?"),
        ("torchvision:resnet51", "torchvision:resnet"),
        ("torchvision:vit_b16", "torchvision:vit_b_16"),
        ("gpt", "did you mean"),
        ("wrn-\uff11\uff16-1", "wrn-"),
    ],
)
def test_unknown_architecture_suggests_the_nearest(given, wanted):
    with pytest.raises(UnknownNameError, match=wanted) as caught:
        npas.plan(given)
    assert caught.value.field == "/architecture/name"
    assert caught.value.nearest


@pytest.mark.parametrize(
    ("given", "nearest"),
    [("superweight", "superweights"), ("soft-sharring", "soft_sharing"), ("Dense", "dense")],
)
def test_unknown_method_suggests_the_nearest(given, nearest):
    with pytest.raises(UnknownNameError, match=f"did you mean {nearest}") as caught:
        npas.plan("resnet-8", method=given)
    assert caught.value.field == "/method"


def test_hyphen_and_underscore_name_the_same_method():
    one = npas.plan("resnet-20", method="soft-sharing", budget=250_000)
    other = npas.plan("resnet-20", method="soft_sharing", budget=250_000)
    assert one == other
    with pytest.raises(InfeasibleBudgetError) as caught:
        npas.plan("resnet-20", method="soft-sharing", budget=2)
    others = set(registry.names("npas.methods")) - {"soft_sharing"}
    assert set(caught.value.alternatives) == others


def test_unknown_dataset_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean cifar10"):
        npas.plan("resnet-8", dataset="cifar1O")
    with pytest.raises(UnknownNameError, match=r"did you mean fashion-mnist\?"):
        npas.plan("resnet-8", dataset="FashionMNIST")
    with pytest.raises(UnknownNameError, match=r"images of your own are npz:NAME") as caught:
        npas.plan("resnet-8", dataset="imagenet")
    assert {"images:NAME", "npz:NAME", "uploaded:ID"} < set(caught.value.known)


@pytest.mark.parametrize("name", ["", "..", "__init__", "_linkage", "os", "x y", "a/b", "x\n"])
def test_names_reach_no_other_module(name):
    for package in ("npas.methods", "npas.recipes", "npas.data"):
        with pytest.raises(UnknownNameError):
            registry.load(package, name, kind="thing")
    with pytest.raises(NpasError):
        npas.plan("resnet-8", method=name)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("wrn-29-10", "6 n \\+ 4.*nearest is wrn-28-10"),
        ("wrn-4-10", "nearest is wrn-10-10"),
        ("wrn-9999-1", "nearest is wrn-1000-1"),
        ("wrn-0-0", "nearest is wrn-10-1"),
        ("wrn-29-999", "nearest is wrn-28-64"),
        ("wrn-28-65", "then 1 to 64; the nearest is wrn-28-64"),
        ("wrn-28-0", "then 1 to 64; the nearest is wrn-28-1"),
        ("resnet-51", "6 n \\+ 2.*nearest is resnet-50"),
        ("resnet-2", "nearest is resnet-8"),
        ("resnet-99999", "nearest is resnet-1202"),
        ("wrn-994-64", "at most 1,000,000,000"),
        ("resnext-30-8x64", "9 n \\+ 2.*nearest is resnext-29-8x64"),
        ("resnext-29-99x999", "nearest is resnext-29-64x256"),
        ("densenet-99-12", "3 n \\+ 4.*nearest is densenet-100-12"),
    ],
)
def test_depths_and_widths_that_are_not_possible_are_refused(name, match):
    with pytest.raises(InvalidSpecError, match=match):
        npas.plan(name)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "resnet-8", "options": {"dropout": 0.1}},
        {"name": "torchvision:resnet18", "options": {"groups": 2}},
        {"name": "torchvision:resnet50", "options": {"dropout": 0.1}},
        {"name": "torchvision:densenet121", "options": {"dropout": 0.1}},
        {"name": "torchvision:mobilenet_v2", "options": {"width_mult": 0.0}},
        {"name": "torchvision:mobilenet_v2", "options": {"width_mult": "1"}},
        {"name": "torchvision:resnet50", "options": {"width_per_group": 10**6}},
        {"name": "torchvision:vit_b_16", "input_size": 100},
        {"name": "torchvision:maxvit_t", "input_size": 100},
        {"name": "torchvision:vgg11", "options": {"weights": "DEFAULT"}},
        {"name": "torchvision:vgg11", "options": {"num_classes": 3}},
    ],
)
def test_architecture_options_that_do_not_fit_are_refused(spec):
    with pytest.raises(InvalidSpecError, match=spec["name"].partition(":")[2] or spec["name"]):
        npas.plan(ArchitectureSpec(**spec))


OPTIONS = [
    {"bins": 0},
    {"bins": "3"},
    {"bins": 1.0},
    {"bins": True},
    {"threshold": float("nan")},
    {"threshold": 1.5},
    {"private": ["head"]},
    {"private": "stem"},
    {"private": 5},
    {"search_epochs": 0},
    {"search_epochs": "few"},
    {"search": "yes"},
    {"max_templates": 65},
    {"unknown": 1},
    {"name": "dense"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_method_options_that_do_not_fit_are_refused(options):
    with pytest.raises(InvalidSpecError, match=next(iter(options))) as caught:
        npas.plan("resnet-8", **options)
    assert caught.value.field.startswith(f"/method/{next(iter(options))}")


@pytest.mark.parametrize("templates", [0, -1, 65, "2", 2.0, True])
def test_soft_sharing_refuses_impossible_templates(templates):
    with pytest.raises(InvalidSpecError, match="templates"):
        npas.plan("resnet-8", method="soft_sharing", templates=templates)


def test_dense_has_no_options():
    with pytest.raises(InvalidSpecError, match=r"bins.*options: none"):
        npas.plan("resnet-8", method="dense", bins=2)


@pytest.mark.parametrize(
    "budget", [0, -1, 1.5, "9", True, 10**11, float("nan"), [1], {}, {"fraction": 0}]
)
def test_budget_that_is_not_one_is_refused(budget):
    with pytest.raises(InvalidSpecError, match=r"budget.*give a count") as caught:
        npas.plan("resnet-8", budget=budget)
    assert caught.value.field == "/budget"


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint64])
def test_budget_may_be_an_integer_of_another_library(kind):
    assert npas.plan("resnet-8", budget=kind(50_000)) == npas.plan("resnet-8", budget=50_000)
    assert BudgetSpec(parameters=kind(50_000)).parameters == 50_000
    assert type(BudgetSpec(parameters=kind(50_000)).parameters) is int


@pytest.mark.parametrize("half", [np.float32(0.5), np.float64(0.5), Fraction(1, 2)])
def test_budget_may_be_a_fraction_of_another_library(half):
    asked = npas.plan("resnet-8", budget={"fraction": half})
    assert asked == npas.plan("resnet-8", budget={"fraction": 0.5})
    assert type(BudgetSpec(fraction=half).fraction) is float


@pytest.mark.parametrize(
    "budget", [np.bool_(True), np.float64(1e5), {"parameters": np.float64(9)}]
)
def test_budget_of_another_library_that_is_no_count_is_refused(budget):
    with pytest.raises(InvalidSpecError, match="give a count"):
        npas.plan("resnet-8", budget=budget)


@pytest.mark.parametrize(
    "networks",
    [None, 5, [], (), ["resnet-8"], [5], [SMALL, SMALL], object()],
)
def test_networks_that_are_none_are_refused(networks):
    with pytest.raises(InvalidSpecError, match=r"networks|two networks") as caught:
        npas.plan(networks)
    assert caught.value.field == "/networks"


def test_evidence_and_stages_that_are_none_are_refused():
    with pytest.raises(InvalidSpecError, match=r"evidence is a str; .*Evidence\.from_json"):
        npas.plan("resnet-8", evidence="{}")
    with pytest.raises(InvalidSpecError, match="share_embeddings 'no': give True or False"):
        npas.plan("resnet-8", share_embeddings="no")
    with pytest.raises(InvalidSpecError, match="stage 'trian': give search or train"):
        npas.plan("resnet-8", stage="trian")


@pytest.mark.parametrize("name", ["", "resnet 8", "resnet-8\n", "a" * 101, "../x", "\0"])
def test_architecture_name_with_odd_letters_is_refused(name):
    with pytest.raises(InvalidSpecError, match="not an architecture"):
        npas.plan(name)
    with pytest.raises(InvalidSpecError, match="not an architecture"):
        npas.build(name)


def test_architecture_name_with_a_slash_suggests_the_nearest():
    with pytest.raises(InvalidSpecError, match=r"did you mean torchvision:resnet50\?"):
        npas.plan("torchvision/resnet50")


@pytest.mark.parametrize("dataset", ["", "npz:../x", "a b", 5, ["digits"]])
def test_dataset_that_is_no_name_is_refused(dataset):
    with pytest.raises(InvalidSpecError, match="not a dataset"):
        npas.plan("resnet-8", dataset=dataset)


@pytest.mark.parametrize("dataset", ["npz:", "npz:missing", "digits:x"])
def test_dataset_that_is_not_there_is_refused(dataset, tmp_path):
    for folder in (tmp_path, str(tmp_path)):
        with pytest.raises(DataError):
            npas.plan("resnet-8", dataset=dataset, data_folder=folder)


@pytest.mark.parametrize(("field", "value"), [("num_classes", 7), ("input_channels", 3)])
def test_size_that_contradicts_the_dataset_is_refused(field, value):
    spec = ArchitectureSpec(name="resnet-8", **{field: value})
    with pytest.raises(InvalidSpecError, match=f"{field} {value}.*contradicts") as caught:
        npas.plan(spec, dataset="digits")
    assert caught.value.field == f"/architecture/{field}"


def test_sizes_come_from_the_dataset():
    plan = npas.plan("wrn-10-1", dataset=DatasetSpec(name="digits"))
    spec = plan.networks[0].architecture
    assert (spec.num_classes, spec.input_channels, spec.input_size) == (10, 1, 8)
    model = npas.build(spec)
    assert sum(p.numel() for p in model.parameters()) == plan.ledger.dense


@pytest.mark.parametrize("method", registry.names("npas.methods"))
@pytest.mark.parametrize("architecture", ["wrn-16-2", "torchvision:mobilenet_v3_small"])
def test_below_the_minimum_the_minimum_and_the_others_are_named(method, architecture):
    with pytest.raises(InfeasibleBudgetError) as caught:
        npas.plan(architecture, budget=2, method=method)
    error = caught.value
    assert (error.method, error.budget, error.field) == (method, 2, "/budget")
    others = set(registry.names("npas.methods")) - {method}
    assert set(error.alternatives) == others
    assert f"{error.minimum:,}" in error.message
    for name, least in error.alternatives.items():
        assert npas.plan(architecture, budget=least, method=name).minimum == least
        assert (f"{name} {least:,}" in error.message) == (least < error.minimum)
        with pytest.raises(InfeasibleBudgetError):
            npas.plan(architecture, budget=least - 1, method=name)
    assert npas.plan(architecture, budget=error.minimum, method=method).ledger.unused == 0


def test_request_gives_the_same_plan_as_its_parts():
    request = JobSpec.model_validate_json(
        '{"architecture": "wrn-16-1", "budget": {"fraction": 0.5}, "dataset": "digits",'
        '"method": {"name": "block_mix", "bins": 2}}'
    )
    budget = {"fraction": 0.5}
    assert npas.plan(request) == npas.plan("wrn-16-1", budget=budget, dataset="digits", bins=2)
    spec = MethodSpec(name="block_mix", bins=2)
    assert npas.plan(request) == npas.plan(
        "wrn-16-1", budget=BudgetSpec(**budget), dataset="digits", method=spec
    )


@pytest.mark.parametrize("more", [{"budget": 5}, {"dataset": "digits"}, {"bins": 2}])
def test_request_beside_what_it_brings_along_is_refused(more):
    request = PlanRequest.model_validate({"architecture": "resnet-8", "budget": 60_000})
    with pytest.raises(InvalidSpecError, match="has its own budget"):
        npas.plan(request, **more)


@pytest.mark.parametrize(("fraction", "wanted"), [(0.29, 29), (0.57, 57), (1.0, 100), (0.005, 0)])
def test_fraction_is_exact(fraction, wanted):
    """0.29 * 100 is 28.999... in binary floating point."""
    assert BudgetSpec(fraction=fraction).resolve(100) == wanted


@pytest.mark.parametrize(
    "value",
    [
        *({}, {"parameters": 1, "fraction": 0.5}, {"fraction": 0}, {"fraction": 11}),
        *({"bytes": 0}, {"bytes": 4, "fraction": 0.5}, {"bits": 4}, {"device": "no-such-board"}),
    ],
)
def test_budget_has_exactly_one_meaning(value):
    with pytest.raises(ValidationError):
        BudgetSpec.model_validate(value)


def test_request_needs_one_kind_of_network():
    for wrong in ({}, {"architecture": "resnet-8", "networks": [SMALL]}, {"networks": []}):
        with pytest.raises(ValidationError):
            PlanRequest.model_validate({"budget": 5, **wrong})
    with pytest.raises(ValidationError, match="same name"):
        PlanRequest.model_validate({"budget": 5, "networks": [SMALL, SMALL]})


@pytest.mark.parametrize("key", ["", "a b", "a\n", "a" * 65, "\u00e4!"])
def test_label_keys_are_checked_to_their_end(key):
    with pytest.raises(ValidationError, match="label key"):
        JobSpec(
            architecture=ArchitectureSpec(name="resnet-8"),
            budget=BudgetSpec(parameters=1),
            dataset=DatasetSpec(name="digits"),
            labels={key: "x"},
        )


WORDS = st.one_of(
    st.text(max_size=12),
    st.from_regex(r"(wrn|resnet)-[0-9]{1,6}(-[0-9]{1,4})?", fullmatch=True).filter(
        lambda name: len(name) < 9  # a network of that size is quick to plan
    ),
)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS, st.lists(WORDS))


@pytest.mark.slow
@settings(deadline=None, derandomize=True, max_examples=150)
@given(name=WORDS, budget=VALUES, method=st.one_of(WORDS, st.just("block_mix")), data=st.data())
def test_any_request_is_planned_or_refused(name, budget, method, data):
    known = ["bins", "private", "threshold", "search_epochs", "templates", "x"]
    options = data.draw(st.dictionaries(st.sampled_from(known), VALUES, max_size=2))
    try:
        plan = npas.plan(name, budget=budget, method=method, **options)
    except NpasError:
        return
    assert plan.ledger.total <= plan.ledger.budget


def test_catalogues_list_what_can_be_named():
    for family in arch.catalogue():
        assert npas.plan(family["example"]).ledger.dense > 0
    for row in methods.catalogue():
        assert methods.find(row["method"]).title == row["title"]
    for name in registry.names("npas.recipes"):
        assert recipes.find(name)


def test_plan_takes_what_a_request_would_say():
    said = {"name": "wrn-16-1", "options": {"scale": 0.5}}
    assert npas.plan(said, method="dense").ledger.total < npas.plan("wrn-16-1").dense
    with pytest.raises(InvalidSpecError, match="not an architecture"):
        npas.plan({"nam": "wrn-16-1"}, method="dense")
