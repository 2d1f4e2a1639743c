"""What stands in place of a search's evidence: lots, the structure, what banks cannot follow.

Arms name one of KINDS. Each says how much every layer would gain by plain weights; the method
turns that into a plan, as it does with what its own search measures.
"""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch
from npas import arch, seeds
from npas.arch.costs import costs
from npas.arch.layers import Layer
from npas.arch.matching import resolve_for
from npas.data import facts
from npas.jobs.context import RunContext, prepared
from npas.jobs.listener import NullListener
from npas.plans.evidence import Evidence, Similarity
from npas.sharing import build
from npas.sharing.group import SharedGroup
from npas.sharing.model import SharedModel
from npas.spec import NetworkSpec, TrainingSpec
from npas.tasks import loss
from npas.train import Command, Trainer
from torch import Tensor

from benchmarks.arms import Cell, Setting, first_plan, job

Key = tuple[str, str]
MOMENTS = 4
"""Of a short training, at which gradients are measured."""

BATCHES = 8
"""Of which a gradient is the mean, at each moment."""

SOLVER_STEPS = 15
"""Of conjugate gradients."""


def _networks(setting: Setting, cell: Cell, data: Path | None) -> tuple[NetworkSpec, ...]:
    spec = job(setting, cell, data)
    return resolve_for(spec.members(), facts(spec.dataset, data))


def evidence_of(
    layers: tuple[Layer, ...],
    energy: Mapping[Key, float],
    cosine: Callable[[int], np.ndarray] = np.eye,
) -> Evidence:
    """Return energies as evidence.

    Args:
        layers: of the networks.
        energy: by network and layer.
        cosine: (count) -> agreement of so many layers; left out: none agrees or conflicts.
    """
    classes: dict[str, list[Layer]] = defaultdict(list)
    for layer in layers:
        classes[layer.kernel_class].append(layer)
    found = []
    for members in classes.values():
        names = tuple(layer.key for layer in members)
        rows = tuple(map(tuple, cosine(len(names)).tolist()))
        energies = tuple(float(energy[name]) for name in names)
        found.append(Similarity(layers=names, cosine=rows, energy=energies))
    return Evidence(batches=1, classes=tuple(found))


def lots(setting: Setting, cell: Cell, data: Path | None) -> Evidence:
    """Return evidence of which nothing was measured: uniform numbers in place of it."""
    draw = np.random.default_rng(seeds.number("lots", cell.seed))
    layers = arch.layer_table(_networks(setting, cell, data)).layers

    def cosine(count: int) -> np.ndarray:
        upper = np.triu(draw.uniform(-1, 1, (count, count)), 1)
        return upper + upper.T + np.eye(count)

    energy = {layer.key: draw.uniform(0, 1) for layer in layers}
    return evidence_of(layers, energy, cosine)


def positions(setting: Setting, cell: Cell, data: Path | None) -> Evidence:
    """Return multiply-adds as energy: for each scalar, the places where it is used."""
    networks = _networks(setting, cell, data)
    layers = arch.layer_table(networks).layers
    macs: dict[Key, float] = {}
    for network in networks:
        for row in costs(network.architecture):
            for name in row.holds:
                macs[network.name, name] = macs.get((network.name, name), 0) + row.macs
    return evidence_of(layers, {layer.key: macs.get(layer.key, 0.0) for layer in layers})


def residual(setting: Setting, cell: Cell, data: Path | None) -> Evidence:
    """Return what a bank cannot follow: gradients less what templates and coefficients can do.

    Summed over moments of a training of one epoch under the plan before any search. What all
    banks together could do for all their layers at once is a least-squares problem; layers that
    keep plain weights count with all of their gradient.
    """
    context = context_of(setting, cell, data)
    model = build.model(first_plan(setting, cell, data), seed=cell.seed)
    trainer = trainer_of(context, model, brief(context, epochs=1), stage="search")
    energy: dict[Key, float] = defaultdict(float)
    for moment in range(1, MOMENTS + 1):
        advance(trainer, trainer.steps_per_epoch * moment // MOMENTS)
        for key, value in _unfollowed(model, _batches(trainer)).items():
            energy[key] += value
    return evidence_of(arch.layer_table(context.problem.networks).layers, energy)


KINDS: Mapping[str, Callable[[Setting, Cell, Path | None], Evidence]] = {
    "lots": lots,
    "positions": positions,
    "residual": residual,
}


def context_of(setting: Setting, cell: Cell, data: Path | None) -> RunContext:
    """Return what a job of a cell is done with."""
    return prepared(
        job(setting, cell, data),
        evidence=None,
        folder=Path(tempfile.gettempdir()) / "npas-evidence",
        data_folder=data,
        device=torch.device("cpu"),
        checkpoint_seconds=1e9,
        listener=NullListener(),
    )


def brief(context: RunContext, *, epochs: int, held_out: float = 0.0) -> TrainingSpec:
    """Return the job's schedule for a short training with the full learning rate throughout."""
    changes = {
        "epochs": epochs,
        "schedule": "constant",
        "warmup_epochs": 0.1,
        "validation_fraction": held_out,
        "keep": "last",
    }
    return context.spec.training.model_copy(update=changes)


def trainer_of(
    context: RunContext, model: SharedModel, training: TrainingSpec, *, stage: str
) -> Trainer:
    """Return a trainer of a model on the job's images."""
    return Trainer(
        model,
        context.dataset,
        training,
        inputs=context.inputs,
        seed=context.spec.seed,
        stage=stage,
        device=context.device,
    )


def advance(trainer: Trainer, until: int) -> None:
    """Train up to a step."""
    trainer.train(after_step=lambda: Command.CONTINUE, after_epoch=lambda _: None, until=until)


def _batches(trainer: Trainer) -> Iterator[tuple[Tensor, Tensor]]:
    for index in range(BATCHES):
        images, labels = trainer.batches.get(0, index % trainer.steps_per_epoch)
        yield trainer.inputs(images), labels


def _unfollowed(model: SharedModel, batches: Iterator[tuple[Tensor, Tensor]]) -> dict[Key, float]:
    """Return the squared length of each layer's gradient that its banks cannot follow."""
    sums: dict[Key, Tensor] = {}
    planned = arch.planned_layers(model.plan)
    model.eval()
    for x, y in batches:
        with torch.enable_grad():
            whole = torch.stack([loss(out, y) for out in model.members(x).values()]).sum()
        weights = [_weight(model, layer) for layer in planned]
        for layer, gradient in zip(planned, torch.autograd.grad(whole, weights), strict=True):
            sums[layer.key] = sums.get(layer.key, 0) + gradient.detach() / BATCHES
    for group in model.plan.groups:
        shared = cast(SharedGroup, model.groups[group.name])
        keys = [slot.key for slot in group.slots]
        left = _least_squares(shared, [sums[key] for key in keys])
        sums |= dict(zip(keys, left, strict=True))
    return {key: float(each.double().square().sum()) for key, each in sums.items()}


def _weight(model: SharedModel, layer: Layer) -> Tensor:
    path, _, attribute = layer.name.rpartition(".")
    return cast(Tensor, getattr(model.network(layer.network).get_submodule(path), attribute))


def _least_squares(shared: SharedGroup, wanted: list[Tensor]) -> list[Tensor]:
    """Return what is left of changes of weights that no change of the banks brings about.

    Weights are bilinear in templates and coefficients, so that a change of them by (t, a) moves
    the weights by compose(t, coefficients) + compose(templates, a). Conjugate gradients on the
    normal equations (Hestenes & Stiefel, 1952).
    """
    at = [parameter.detach().clone() for parameter in shared.parameters()]
    num_templates = len(shared.templates)

    def forward(change: list[Tensor]) -> list[Tensor]:
        mixed = [
            [*change[:num_templates], *at[num_templates:]],
            [*at[:num_templates], *change[num_templates:]],
        ]
        parts = [_composed(shared, values) for values in mixed]
        if num_templates == len(at):  # banks without coefficients are linear
            return parts[0]
        return [one + other for one, other in zip(*parts, strict=True)]

    _put(shared, at)
    left = [each.clone() for each in wanted]
    direction = gradient = shared.pull_back(left)
    length = _dot(gradient, gradient)
    for _ in range(SOLVER_STEPS):
        if not length > 0:
            break
        moved = forward(direction)
        step = length / max(_dot(moved, moved), 1e-30)
        left = [each - step * m for each, m in zip(left, moved, strict=True)]
        _put(shared, at)
        gradient = shared.pull_back(left)
        before, length = length, _dot(gradient, gradient)
        ratio = length / before
        direction = [g + ratio * d for g, d in zip(gradient, direction, strict=True)]
    _put(shared, at)
    return left


def _composed(shared: SharedGroup, values: list[Tensor]) -> list[Tensor]:
    _put(shared, values)
    with torch.no_grad():
        return [weight.clone() for weight in shared.weights()]


def _put(shared: SharedGroup, values: list[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(shared.parameters(), values, strict=True):
            parameter.copy_(value)


def _dot(one: list[Tensor], other: list[Tensor]) -> float:
    return float(sum((a.double() * b.double()).sum() for a, b in zip(one, other, strict=True)))
