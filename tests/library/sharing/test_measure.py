"""Gradient agreement: what autograd says of the plain networks, and no trace left behind."""

import copy
import json

import npas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from npas import arch
from npas.arch.layers import LayerTable
from npas.errors import DataError, InvalidSpecError, PlanError
from npas.plans.evidence import Evidence, Similarity
from npas.sharing.measure import coefficient_agreement, gradient_agreement, representation
from npas.spec import ArchitectureSpec, NetworkSpec
from torch.nn import functional as F

NETWORKS = [
    NetworkSpec(name="deep", architecture=ArchitectureSpec(name="resnet-14")),
    NetworkSpec(name="wide", architecture=ArchitectureSpec(name="wrn-10-1")),
]


def batches(count, size=8):
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(size, 3, 16, 16, generator=generator),
            torch.randint(10, (size,), generator=generator),
        )
        for _ in range(count)
    ]


@pytest.fixture
def model():
    """Two networks under a search plan, with statistics that are not the initial ones."""
    return shared_under(
        npas.plan(NETWORKS, budget=60_000, method="superweights", stage="search", blocks="nest")
    )


def shared_under(plan):
    networks = {n.name: npas.build(n.architecture, seed=5) for n in NETWORKS}
    shared = npas.share(networks, plan, seed=5)
    with torch.no_grad():
        shared(batches(1)[0][0])
    return shared


@pytest.fixture(scope="module")
def evidence():
    """A small piece of real evidence."""
    plan = npas.plan(
        "resnet-8", budget=40_000, method="superweights", stage="search", blocks="nest"
    )
    return gradient_agreement(npas.share(npas.build("resnet-8"), plan), batches(1))


def plain_gradients(model, data):
    """Sum the gradients of the plain networks' own weights over the batches."""
    networks = model.materialise()
    sums = {}
    for x, y in data:
        for name, network in networks.items():
            network.eval().zero_grad()
            F.cross_entropy(network(x), y).backward()
            for parameter, value in network.named_parameters():
                sums[name, parameter] = sums.get((name, parameter), 0) + value.grad
    return sums


def test_agreement_of_blocks_is_about_what_layers_ask_of_the_templates():
    model = shared_under(
        npas.plan(NETWORKS, budget=20_000, method="superweights", stage="search", blocks="stack")
    )
    found = gradient_agreement(model, batches(3))
    plain = plain_gradients(model, batches(3))
    asked = {}
    for group in model.plan.groups:
        shared = model.groups[group.name]
        for slot, weight in zip(group.slots, shared(), strict=True):
            loss = (weight * plain[slot.network, slot.layer]).sum()
            asked[slot.network, slot.layer] = torch.autograd.grad(
                loss, shared.templates[0], retain_graph=True
            )[0]
    compared = 0
    for similarity in found.classes:
        for i, one in enumerate(similarity.layers):
            for j, other in enumerate(similarity.layers):
                if one in asked and other in asked:
                    a, b = (asked[name].flatten().double() for name in (one, other))
                    cosine = F.cosine_similarity(a, b, dim=0, eps=1e-30)
                    assert similarity.cosine[i][j] == pytest.approx(cosine.item(), abs=1e-5)
                    compared += one != other
                elif one in asked or other in asked:
                    assert similarity.cosine[i][j] == 0
    assert compared > 50


def test_agreement_is_the_cosine_of_plain_gradients(model):
    found = gradient_agreement(model, batches(3))
    wanted = plain_gradients(model, batches(3))
    assert found.batches == 3
    for similarity in found.classes:
        for i, one in enumerate(similarity.layers):
            for j, other in enumerate(similarity.layers):
                a, b = wanted[one], wanted[other]
                rows, columns = min(len(a), len(b)), min(a.shape[1], b.shape[1])
                a, b = (g[:rows, :columns].flatten().double() for g in (a, b))
                cosine = F.cosine_similarity(a, b, dim=0, eps=1e-30)
                assert similarity.cosine[i][j] == pytest.approx(cosine.item(), abs=1e-5)


def test_agreement_covers_every_layer_once_by_kernel_class(model):
    table = arch.layer_table(model.plan.networks)
    classes = {la.key: la.kernel_class for la in table.layers}
    found = gradient_agreement(model, batches(1))
    layers = [layer for similarity in found.classes for layer in similarity.layers]
    assert sorted(layers) == sorted(classes)
    for similarity in found.classes:
        assert len({classes[layer] for layer in similarity.layers}) == 1


def state_of(model):
    tensors = {name: t.clone() for name, t in model.state_dict().items()}
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    return tensors, grads, [module.training for module in model.modules()]


def same(before, after):
    tensors = all(torch.equal(t, after[0][name]) for name, t in before[0].items())
    pairs = zip(before[1], after[1], strict=True)
    grads = all(torch.equal(a, b) if a is not None else b is None for a, b in pairs)
    return tensors and grads and before[2] == after[2]


@pytest.mark.parametrize("mode", ["train", "eval", "mixed"])
def test_agreement_leaves_no_trace(model, mode):
    model.train(mode != "eval")
    if mode == "mixed":
        model.network("deep").stages[0].eval()
    model.network("wide")(batches(1)[0][0]).sum().backward()
    before = state_of(model)
    gradient_agreement(model, batches(2))
    assert same(before, state_of(model))


def test_agreement_leaves_no_trace_when_a_batch_is_bad(model):
    model.network("deep").stages[0].eval()
    before = state_of(model)
    x, y = batches(1)[0]
    with pytest.raises(IndexError, match="out of bounds"):
        gradient_agreement(model, [(x, y), (x, y + 10)])
    assert same(before, state_of(model))


def test_agreement_is_measured_inside_no_grad(model):
    wanted = gradient_agreement(model, batches(1))
    with torch.no_grad():
        assert gradient_agreement(model, batches(1)) == wanted


@pytest.mark.parametrize("frozen", ["networks", "groups", "groups.g0.coefficients", ""])
def test_frozen_layers_are_measured_too_and_stay_frozen(model, frozen):
    wanted = gradient_agreement(model, batches(1))
    model.get_submodule(frozen).requires_grad_(False)
    before = [parameter.requires_grad for parameter in model.parameters()]
    assert gradient_agreement(model, batches(1)) == wanted
    assert [parameter.requires_grad for parameter in model.parameters()] == before


@pytest.mark.parametrize("measure", [gradient_agreement, coefficient_agreement])
def test_network_that_does_not_share_is_refused(measure):
    with pytest.raises(InvalidSpecError, match="not a shared network"):
        measure(npas.build("resnet-8"), batches(1))
    with pytest.raises(InvalidSpecError, match="not a shared network"):
        representation(npas.build("resnet-8"))


def test_agreement_is_the_same_twice(model):
    assert gradient_agreement(model, batches(2)) == gradient_agreement(model, batches(2))


def test_agreement_needs_a_batch(model):
    with pytest.raises(DataError, match="no batch"):
        gradient_agreement(model, [])


def test_agreement_of_vanished_or_endless_gradients_is_zero(model):
    with torch.no_grad():
        model.network("deep").fc.weight.zero_()
        model.network("wide").fc.weight.fill_(float("inf"))
    found = gradient_agreement(model, batches(1))
    for similarity in found.classes:
        for i, layer in enumerate(similarity.layers):
            if not layer[1].startswith("fc"):
                assert set(similarity.cosine[i]) == {0.0}


def test_agreement_does_not_depend_on_the_gradients_size(model):
    """Labels that are nearly certain make gradients of 1e-15; their directions still count."""
    wanted = gradient_agreement(model, batches(1))
    with torch.no_grad():
        for network in ("deep", "wide"):
            model.network(network).fc.weight.mul_(1e-15)
    found = gradient_agreement(model, batches(1))
    for one, other in zip(wanted.classes, found.classes, strict=True):
        diagonal = [other.cosine[i][i] for i in range(len(other.layers))]
        assert diagonal == pytest.approx([1.0] * len(one.layers))


def test_agreement_refines_a_plan(model):
    found = gradient_agreement(model, batches(2))
    refined = npas.plan(NETWORKS, budget=60_000, evidence=found)
    assert refined.ledger.total <= 60_000
    assert refined == npas.plan(NETWORKS, budget=60_000, evidence=found)
    regrouped = model.regroup(refined)
    assert sum(p.numel() for p in regrouped.parameters()) == refined.ledger.total


@settings(deadline=None, derandomize=True, max_examples=50)
@given(table=st.from_type(LayerTable), data=st.data())
def test_evidence_comes_back_exactly(evidence_for, table, data):
    evidence = data.draw(evidence_for(table))
    assert Evidence.from_json(evidence.to_json()) == evidence


def test_evidence_without_a_layer_is_refused(evidence):
    value = json.loads(evidence.to_json())
    first = value["classes"][0]
    network, layer = first["layers"].pop()
    first["cosine"] = [row[:-1] for row in first["cosine"][:-1]]
    first["energy"].pop()
    fewer = Evidence.from_json(json.dumps(value))
    with pytest.raises(PlanError, match=f"says nothing about {network}/{layer}"):
        npas.plan("resnet-8", budget=45_000, evidence=fewer)
    with pytest.raises(PlanError, match="says nothing about main/"):
        npas.plan("resnet-14", budget=100_000, evidence=evidence)


def test_evidence_about_no_layer_says_nothing_and_about_others_is_refused(evidence):
    nothing = Similarity(layers=(), cosine=())
    other = Similarity(layers=(("other", "fc.weight"),), cosine=((1.0,),), energy=(5.0,))
    more = evidence.model_copy(update={"classes": (nothing, *evidence.classes)})
    plans = [npas.plan("resnet-8", budget=45_000, evidence=each) for each in (evidence, more)]
    assert plans[0] == plans[1]
    strange = evidence.model_copy(update={"classes": (*evidence.classes, other)})
    with pytest.raises(PlanError, match=r"other/fc\.weight"):
        npas.plan("resnet-8", budget=45_000, evidence=strange)


def changed(part, value):
    def change(evidence):
        evidence["classes"][0][part] = value(evidence["classes"][0][part])

    return change


@pytest.mark.parametrize(
    "change",
    [
        changed("cosine", lambda c: c[:-1]),
        changed("cosine", lambda c: [row[:-1] for row in c]),
        changed("cosine", lambda c: [[*c[0][:-1], 0.123], *c[1:]]),
        changed("cosine", lambda c: [[1e308] * len(c)] * len(c)),
        changed("cosine", lambda c: [[None] * len(c)] * len(c)),
        changed("layers", lambda names: [names[0], *names[:-1]]),
        changed("layers", lambda names: [["only"] for _ in names]),
        lambda evidence: evidence["classes"].append(copy.deepcopy(evidence["classes"][0])),
        lambda evidence: evidence.update(batches=0),
        lambda evidence: evidence.update(kind="gossip"),
        lambda evidence: evidence.update(more=1),
    ],
)
def test_evidence_that_makes_no_sense_is_refused(evidence, change):
    value = json.loads(evidence.to_json())
    change(value)
    with pytest.raises(PlanError, match="not evidence"):
        Evidence.from_json(json.dumps(value))


@settings(deadline=None, derandomize=True, max_examples=100)
@given(text=st.one_of(st.text(), st.binary(), st.just("[" * 100_000)))
def test_any_other_text_is_refused(text):
    with pytest.raises(PlanError, match="not evidence"):
        Evidence.from_json(text)
