"""The work of a plan grows with the layers hardly faster than their number: calls are counted."""

import cProfile
import sys

import pytest
from npas import methods, registry
from npas.arch.layers import Layer, LayerTable
from npas.methods._parts import MOST_PRICES, freed, parts_of, trimmed
from npas.spec import MethodSpec

pytestmark = pytest.mark.slow

FEW, MANY = 100, 800
MOST_GROWTH = 2.5 * MANY / FEW
"""Calls of the larger network over those of the smaller: n log n, and what is left of a budget may
be dealt out more often, but at most so many times. Quadratic work would grow eight times as much.
"""

VARIANTS = [
    *({"name": name} for name in registry.names("npas.methods")),
    {"name": "ssn", "groups": "shape"},
    {"name": "ssn", "share": "emb"},
    {"name": "superweights", "search": False},
]


def layers(number):
    """Return linear layers of different widths, each reading the one before."""
    widths = [8, *(8 + 37 * i % number for i in range(number))]
    return tuple(
        Layer(
            network="main",
            name=f"{i}.weight",
            kind="linear",
            shape=(widths[i + 1], widths[i]),
            role="body",
            stage="0",
        )
        for i in range(number)
    )


def calls(work):
    """Return how many functions were called, of Python and of C."""
    profile = cProfile.Profile()
    profile.runcall(work)
    return sum(entry.callcount for entry in profile.getstats())


def counted_afresh(work):
    """Return the calls of work for which nothing is remembered."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("npas.plans.blocks", "npas.methods", "npas.plans.windows")):
            for value in vars(module).values():
                getattr(value, "cache_clear", int)()
    return calls(work)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_allocating_takes_work_in_proportion_to_the_layers(variant, share):
    spec = MethodSpec.model_validate(variant)
    method = methods.find(spec.name)
    options = methods.checked_options(method, spec)

    def plan(number):
        table = LayerTable(layers=layers(number), others=0)
        least = method.smallest(table, options).num_parameters
        budget = max(int(share * table.dense), least)
        method.allocate(table, budget, options, evidence=None, stage="train")

    plan(10)  # what is imported and remembered once
    few, many = (counted_afresh(lambda n=n: plan(n)) for n in (FEW, MANY))
    assert many < MOST_GROWTH * few


@pytest.mark.parametrize("change", [trimmed, lambda parts: freed(parts, 10**9)])
def test_taking_layers_out_of_parts_ends_however_many_there_are(change, monkeypatch):
    priced = 0
    parts = parts_of([layers(120)[i : i + 60] for i in (0, 60)] * 300)
    without = type(parts[0]).without

    def counted(part, layer):
        nonlocal priced
        priced += 1
        return without(part, layer)

    monkeypatch.setattr(type(parts[0]), "without", counted)
    taken_out = len(change(parts)) - len(parts)
    assert priced <= MOST_PRICES + taken_out
