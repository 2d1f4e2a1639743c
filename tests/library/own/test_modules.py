"""Modules as people write them: planned, shared, trained a step, saved, loaded, equal."""

import copy

import npas
import pytest
import torch
from npas.errors import InfeasibleBudgetError
from npas.plans import Plan
from npas.testing.counting import num_stored
from torch.utils._pytree import tree_leaves

from benchmarks.own_modules import MODULES, scalar

TOO_SMALL = {
    "tied",
    "two-inputs",
    "towers",
    "shared-block",
    "parametrized",
    "lazy",
}
"""A tenth is less than their plain parts, and one bank, have."""


def answers(module, example):
    with torch.no_grad():
        found = module(**example) if isinstance(example, dict) else module(*example)
    return tree_leaves(found)


def equal(found, wanted):
    return all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


def made(name, seed=0):
    torch.manual_seed(seed)
    make, example = MODULES[name]
    return make(), example()


def shared(name, fraction, **options):
    module, example = made(name)
    plan = npas.plan(module, budget={"fraction": fraction}, example=example, **options)
    return npas.share(module, plan, fit=True), example


def step(model, example):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scalar(model(**example) if isinstance(example, dict) else model(*example)).backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())
    optimizer.step()


@pytest.mark.parametrize("fraction", [0.5, 0.1])
@pytest.mark.parametrize("name", MODULES)
def test_module_is_shared_trained_saved_and_loaded(name, fraction, tmp_path):
    if fraction == 0.1 and name in TOO_SMALL:
        module, example = made(name)
        with pytest.raises(InfeasibleBudgetError, match="raise it to at least"):
            npas.plan(module, budget={"fraction": fraction}, example=example)
        return
    model, example = shared(name, fraction)
    ledger = model.plan.ledger
    assert num_stored(model) == ledger.total <= ledger.budget == int(ledger.dense * fraction)
    assert Plan.from_json(model.plan.to_json()) == model.plan
    step(model, example)
    wanted = answers(model.eval(), example)
    npas.save(model, tmp_path / "model.safetensors")
    other, _ = made(name, seed=1)
    if name == "lazy":
        answers(other, example)
    loaded = npas.load(tmp_path / "model.safetensors", into=other)
    assert equal(answers(loaded, example), wanted)
    assert num_stored(loaded) == ledger.total


@pytest.mark.parametrize("name", MODULES)
def test_what_is_made_of_a_shared_module_computes_the_same(name):
    model, example = shared(name, 0.6)
    step(model, example)
    wanted = answers(model.eval(), example)
    plain = model.materialise()["main"]
    assert type(plain) is MODULES[name][0]
    assert all(map(torch.allclose, answers(plain, example), wanted))
    assert equal(answers(copy.deepcopy(model), example), wanted)
    assert equal(answers(model.member("main"), example), wanted)
    dense = model.regroup(npas.plan(model.plan.networks, method="dense"))
    assert equal(answers(dense, example), wanted)
    folded = npas.fold(model, threshold=1.0)
    assert folded.is_exact
    assert all(map(torch.allclose, answers(folded.model, example), wanted))
    assert npas.similarity(model).keys() <= model.groups.keys()


@pytest.mark.parametrize("name", ["nested", "tied", "lstm", "attention"])
@pytest.mark.parametrize("method", ["soft_sharing", "ssn", "superweights", "uniform"])
def test_every_way_of_sharing_takes_modules(name, method):
    model, example = shared(name, 0.7, method=method)
    assert num_stored(model) == model.plan.ledger.total <= model.plan.ledger.budget
    step(model, example)


def test_embeddings_share_where_they_are_asked_to(tmp_path):
    model, example = shared("lstm", 0.3, share_embeddings=True, method="ssn")
    assert "embedding.weight" in {
        slot.layer for group in model.plan.groups for slot in group.slots
    }
    npas.save(model.eval(), tmp_path / "model.safetensors")
    loaded = npas.load(tmp_path / "model.safetensors", into=made("lstm", 1)[0])
    assert equal(answers(loaded, example), answers(model, example))


def test_several_modules_share_one_bank(tmp_path):
    torch.manual_seed(0)
    modules = {name: MODULES["nested"][0]() for name in ("a", "b")}
    images = MODULES["nested"][1]()
    plan = npas.plan(modules, budget={"fraction": 0.3}, example={"a": images})
    model = npas.share(modules, plan, fit=True).eval()
    npas.save(model, tmp_path / "model.safetensors")
    fresh = {name: MODULES["nested"][0]() for name in ("b", "a")}
    loaded = npas.load(tmp_path / "model.safetensors", into=fresh)
    wanted, found = model(*images), loaded(*images)
    assert wanted.keys() == found.keys() == {"a", "b"}
    assert equal(found.values(), wanted.values())
    alone = model.member("b")
    torch.testing.assert_close(alone(*images), wanted["b"])
    assert alone.plan.networks[0].architecture.module is not None


def test_module_and_architecture_share_one_bank(tmp_path):
    own = npas.plan(npas.build("resnet-8", seed=1), method="dense").networks[0]
    named = npas.plan("resnet-14", method="dense").networks[0]
    specs = [each.model_copy(update={"name": n}) for n, each in {"o": own, "n": named}.items()]
    plan = npas.plan(specs, budget={"fraction": 0.4})
    networks = {"o": npas.build("resnet-8", seed=1), "n": npas.build("resnet-14", seed=1)}
    model = npas.share(networks, plan).eval()
    npas.save(model, tmp_path / "model.safetensors")
    loaded = npas.load(tmp_path / "model.safetensors", into={"o": npas.build("resnet-8")})
    x = torch.randn(2, 3, 32, 32)
    assert equal(loaded(x).values(), model(x).values())
