"""Every torchvision classification model, every method, two budgets: a lawful plan or a minimum.

The dense size, and one of the other budgets in turn; `benchmarks/sweep.py` tries all of them on
all families. Then some of the models, drawn with a seed among those of at most 30 million
parameters, are built, run forward and backward on small images, and counted again.
"""

import functools
import itertools
import random

import pytest
from npas import arch, registry
from npas.errors import InfeasibleBudgetError
from npas.plans import Plan
from npas.spec import ArchitectureSpec, NetworkSpec
from npas.testing.sweeping import answer, check_answer, check_built, check_one_minimum
from torchvision import models

pytestmark = pytest.mark.slow

METHODS = registry.names("npas.methods")
MODELS = models.list_models(module=models)
PERCENTS = (1, 5, 10, 25, 50, 75, 200, 300)
LARGEST_BUILT = 30_000_000
NUM_BUILT = 16


def percents(name):
    """Return the budgets that a model is tried with."""
    return PERCENTS[MODELS.index(name) % len(PERCENTS)], 100


@functools.cache
def dense(name):
    """Return the dense size of a model."""
    spec = arch.resolve(ArchitectureSpec(name=f"torchvision:{name}"))
    table = arch.layer_table([NetworkSpec(name="main", architecture=spec)])
    assert len(table.layers) > 1
    return table.dense


@functools.cache
def sweep(name):
    """Plan one model every way: method -> percent -> plan or error."""
    return {
        method: {
            percent: answer(f"torchvision:{name}", method, percent) for percent in percents(name)
        }
        for method in METHODS
    }


@pytest.mark.parametrize("name", MODELS)
def test_model_is_planned_within_every_law_or_has_a_minimum(name):
    for method, answers in sweep(name).items():
        check_one_minimum(answers)
        for percent, found in answers.items():
            check_answer(found, method, percent, dense(name))


def test_sweep_is_complete():
    """As many answers as there are questions; dense fits exactly from its own size on."""
    questions = itertools.product(MODELS, METHODS)
    results = {
        (name, method, percent): found
        for name, method in questions
        for percent, found in sweep(name)[method].items()
    }
    assert len(MODELS) >= 80
    assert len(results) == len(MODELS) * len(METHODS) * 2
    plans = [key for key, found in results.items() if isinstance(found, Plan)]
    above = [name for name in MODELS for percent in percents(name) if percent >= 100]
    assert sum(method == "dense" for _, method, _ in plans) == len(above)
    reached = {(method, percent) for _, method, percent in plans}
    assert {("block_mix", 10), ("block_mix", 25), ("soft_sharing", 50)} <= reached
    assert any(isinstance(found, InfeasibleBudgetError) for found in results.values())


@functools.cache
def drawn():
    """Draw (model, method, percent) for the models to build; the methods take turns."""
    generator = random.Random(20)
    small = [name for name in MODELS if dense(name) <= LARGEST_BUILT]
    return [
        (name, METHODS[index % len(METHODS)], generator.choice([1, 5, 10, 25, 50, 100, 200]))
        for index, name in enumerate(generator.sample(small, NUM_BUILT))
    ]


@pytest.mark.parametrize("index", range(NUM_BUILT))
def test_built_model_runs_and_has_what_its_plan_says(index):
    name, method, percent = drawn()[index]
    check_built(f"torchvision:{name}", method, percent)
