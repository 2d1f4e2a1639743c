"""Search by regrouping: one training, candidate plans made from it, each trained for some steps.

A candidate frees a layer, so that it keeps plain weights, or lets one share that does not. It
inherits the weights (`SharedModel.regroup`), is trained for a few steps, and kept if it has a
lower loss on held-out images than the plan before it, trained for as many steps. `measured`
proposes by what banks cannot follow, `mutated` by lot: the honest baseline.
"""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from npas import arch, seeds
from npas.arch.layers import Layer
from npas.errors import NonFiniteLossError
from npas.jobs.context import RunContext
from npas.planning.planner import solve
from npas.plans import Plan
from npas.plans.evidence import Evidence
from npas.sharing import build
from npas.sharing.model import SharedModel
from npas.train.evaluate import evaluate

from benchmarks.arms import Cell, Setting
from benchmarks.evidence import Key, advance, brief, context_of, evidence_of, residual, trainer_of

ROUNDS, CANDIDATES, STEPS = 5, 3, 20
"""Of the search: with one epoch before them it costs a third of ten epochs of 125 steps."""

HELD_OUT = 0.2
"""Of the training images, which candidates are compared on."""

Freed = frozenset[Key]


def measured(setting: Setting, cell: Cell, data: Path | None) -> Evidence:
    """Return the layers that regrouping frees, proposed by what banks cannot follow."""
    found = residual(setting, cell, data)
    worth = {
        name: energy
        for similarity in found.classes
        for name, energy in zip(similarity.layers, similarity.energy, strict=True)
    }
    return _searched(setting, cell, data, worth)


def mutated(setting: Setting, cell: Cell, data: Path | None) -> Evidence:
    """Return the layers that regrouping frees, proposed by lot."""
    return _searched(setting, cell, data, None)


def _searched(
    setting: Setting, cell: Cell, data: Path | None, worth: dict[Key, float] | None
) -> Evidence:
    context = context_of(setting, cell, data)
    layers = arch.layer_table(context.problem.networks).layers
    draw = np.random.default_rng(seeds.number("regrouping", cell.seed))
    kept: Freed = frozenset()
    model = build.model(_plan(context, layers, kept), seed=cell.seed)
    trainer = trainer_of(context, model, brief(context, epochs=1, held_out=HELD_OUT), stage="race")
    advance(trainer, trainer.total_steps)
    tried: set[Freed] = {kept}
    for round_ in range(ROUNDS):
        offered = [kept, *_proposals(context, layers, kept, tried, worth, draw)]
        tried |= set(offered)
        results = []
        for freed in offered:
            other = _plan(context, layers, freed)
            begun = copy.deepcopy(model) if freed == kept else model.regroup(other)
            results.append((*_trained(context, begun, round_), freed))
        _, model, kept = min(results, key=lambda result: result[0])
    return _evidence(layers, kept)


def _proposals(
    context: RunContext,
    layers: Sequence[Layer],
    kept: Freed,
    tried: set[Freed],
    worth: dict[Key, float] | None,
    draw: np.random.Generator,
) -> list[Freed]:
    """Return changes of one layer whose plans are new: the most promising, or by lot."""
    order = list(draw.permutation(len(layers)))
    if worth is not None:
        order.sort(key=lambda i: -_gain(layers[i], kept, worth))
    found: list[Freed] = []
    plans = {_groups(_plan(context, layers, freed)) for freed in (kept,)}
    for index in order:
        freed = kept ^ {layers[index].key}
        plan = _plan(context, layers, freed)
        if freed not in tried and _groups(plan) not in plans:
            plans.add(_groups(plan))
            found.append(freed)
        if len(found) == CANDIDATES:
            break
    return found


def _gain(layer: Layer, kept: Freed, worth: dict[Key, float]) -> float:
    """Return what a change of a layer promises, for each scalar that it moves."""
    density = worth[layer.key] / layer.size
    return -density if layer.key in kept else density


def _groups(plan: Plan) -> str:
    return plan.model_dump_json(include={"groups", "private"})


def _plan(context: RunContext, layers: Sequence[Layer], freed: Freed) -> Plan:
    return solve(context.problem, evidence=_evidence(layers, freed))


def _evidence(layers: Sequence[Layer], freed: Freed) -> Evidence:
    return evidence_of(tuple(layers), {layer.key: float(layer.key in freed) for layer in layers})


def _trained(context: RunContext, model: SharedModel, round_: int) -> tuple[float, SharedModel]:
    """Return the held-out loss of a model after some steps, and the model."""
    training = brief(context, epochs=1, held_out=HELD_OUT).model_copy(
        update={"warmup_epochs": 0.0}
    )
    trainer = trainer_of(context, model, training, stage=f"race {round_}")
    try:
        advance(trainer, STEPS)
    except NonFiniteLossError:
        return float("inf"), model
    images, labels = trainer.batches.validation
    graded = evaluate(model, images, labels, inputs=trainer.inputs, device=trainer.device)
    return graded.nll, model
