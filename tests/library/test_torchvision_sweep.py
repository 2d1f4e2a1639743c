"""Every torchvision classification model, every method, seven budgets: a lawful plan or a minimum.

Then twenty of the models, drawn with a seed among those of at most 30 million parameters, are
built, run forward and backward on small images, and counted again.
"""

import functools
import random

import npas
import pytest
import torch
from npas import arch, registry
from npas.errors import InfeasibleBudgetError
from npas.spec import ArchitectureSpec, BudgetSpec
from torchvision import models

METHODS = registry.names("npas.methods")
MODELS = models.list_models(module=models)
PERCENTS = (1, 5, 10, 25, 50, 100, 200)
LARGEST_BUILT = 30_000_000


def planned(name, method, percent):
    """Return the plan, or the error that there is none."""
    budget = BudgetSpec(fraction=percent / 100)
    try:
        return npas.plan(f"torchvision:{name}", budget=budget, method=method)
    except InfeasibleBudgetError as error:
        return error


@functools.cache
def sweep(name):
    """Plan one model every way: (method, percent) -> plan or error."""
    return {(m, percent): planned(name, m, percent) for m in METHODS for percent in PERCENTS}


def drawn():
    """Draw (model, method, percent) for the models to build; the methods take turns."""
    generator = random.Random(20)
    small = [name for name in MODELS if sweep(name)["dense", 200].ledger.dense <= LARGEST_BUILT]
    for index, name in enumerate(generator.sample(small, 20)):
        method = METHODS[index % len(METHODS)]
        yield name, method, generator.choice(PERCENTS)


@pytest.mark.parametrize("name", MODELS)
def test_model_is_planned_within_every_law_or_has_a_minimum(name, covers, scalars):
    found = sweep(name)
    table = arch.layer_table(found["dense", 200].networks)
    assert len(table.layers) > 1
    for (method, percent), result in found.items():
        budget = BudgetSpec(fraction=percent / 100).resolve(table.dense)
        if isinstance(result, InfeasibleBudgetError):
            assert (result.method, result.budget) == (method, budget)
            assert budget < result.minimum <= table.dense
            assert set(result.alternatives) == set(METHODS) - {method}
            continue
        ledger = result.ledger
        covers(table, result.groups, result.private)
        assert ledger.total == scalars(result.groups, result.private, table.others)
        assert ledger.total + ledger.unused == ledger.budget == budget >= result.minimum
        assert ledger.dense == table.dense


@pytest.mark.parametrize("name", MODELS)
def test_model_has_one_minimum_for_all_budgets(name):
    for method in METHODS:
        results = [sweep(name)[method, percent] for percent in PERCENTS]
        assert len({result.minimum for result in results}) == 1
        feasible = [not isinstance(result, InfeasibleBudgetError) for result in results]
        assert feasible == sorted(feasible)
        assert feasible[PERCENTS.index(100)]


def test_sweep_is_complete():
    """As many answers as there are questions; dense fits exactly from its own size on."""
    results = {(name, *key): result for name in MODELS for key, result in sweep(name).items()}
    assert len(MODELS) >= 80
    assert len(results) == len(MODELS) * len(METHODS) * len(PERCENTS)
    plans = [key for key, r in results.items() if not isinstance(r, InfeasibleBudgetError)]
    assert sum(method == "dense" for _, method, _ in plans) == 2 * len(MODELS)
    reached = {(method, percent) for _, method, percent in plans}
    assert {("superweights", 10), ("superweights", 25), ("soft_sharing", 50)} <= reached


@pytest.fixture(scope="module")
def sample():
    """The models to build."""
    return list(drawn())


@pytest.mark.parametrize("index", range(20))
def test_built_model_runs_and_has_what_its_plan_says(sample, index, recount):
    name, method, percent = sample[index]
    size = 96 if name == "inception_v3" else 64
    spec = ArchitectureSpec(name=f"torchvision:{name}", num_classes=7, input_size=size)
    try:
        plan = npas.plan(spec, budget=BudgetSpec(fraction=percent / 100), method=method)
    except InfeasibleBudgetError as error:
        plan = npas.plan(spec, budget=error.minimum, method=method)
    model = npas.share(npas.build(plan.networks[0].architecture, seed=0), plan)
    assert recount(model) == plan.ledger.total <= plan.ledger.budget
    logits = model(torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (2, 7)
    logits.square().mean().backward()
    for group in model.groups.values():
        assert all(torch.isfinite(p.grad).all() for p in group.parameters())
        assert any(p.grad.any() for p in group.parameters())
    plain = model.materialise()["main"]
    assert recount(plain) == plan.ledger.dense
