"""Explains an allocation: who shares with whom, what it costs, what more budget would buy."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from npas import arch, seeds
from npas.data import Inputs
from npas.delivery.allocation_report import (
    AllocationReport,
    BoughtLayer,
    GrownGroup,
    LayerReport,
    MeasuringReport,
    NextBudgetReport,
    RicherPlanReport,
    UnsharedReport,
    layer_report,
)
from npas.delivery.measuring import Effort, Images, effort
from npas.errors import DataError
from npas.planning.richer import MORE, grown
from npas.plans import LayerKey, Plan
from npas.plans.comparison import Comparison, compare
from npas.plans.sharers import LayerShare, shares
from npas.sharing.model import SharedModel
from npas.sharing.unsharing import UnsharedLayer, unsharing
from npas.sharing.walks import Batch
from npas.train.repeatable import reproducible

Labelled = tuple[Tensor, Tensor]
"""Images, uint8 (N, C, S, S), and their labels, (N,) or (N, S, S)."""

_MOST_LINES = 40
"""Of the text that compares two plans."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurable:
    """What there is to measure on, and how much it may take.

    Attributes:
        learned: images that were trained on.
        held_out: others; empty: none were held out.
        inputs: what the networks read.
        seed: of the choice of images.
        batch: images of an optimiser step.
        at_once: images that the memory has room for in a step.
        allowed: optimiser steps that the measuring may take.
        steps: optimiser steps that the training took; where images are measured at another size,
            as many at that size as take as long.
        device: where the networks are.
        progress: hears how many layers are done, of how many.
    """

    learned: Labelled
    held_out: Labelled
    inputs: Inputs
    seed: int
    batch: int
    at_once: int
    allowed: float
    steps: float
    device: torch.device
    progress: Callable[[int, int], object] | None = None

    def images(self) -> Images:
        """Return how many images there are."""
        return Images(
            learned=len(self.learned[0]), held_out=len(self.held_out[0]), batch=self.batch
        )

    def chosen(self, made: Effort) -> tuple["_Batches", "_Batches"]:
        """Return batches for the steps, and others to measure on."""
        order = self._order("learned", len(self.learned[0]))
        steps, rest = order[: made.step_images], order[made.step_images :]
        images, places = self.learned, rest[: made.images]
        if len(self.held_out[0]):
            images = self.held_out
            places = self._order("held out", len(images[0]))[: made.images]
        return _Batches(self, self.learned, steps), _Batches(self, images, places)

    def _order(self, name: str, count: int) -> Tensor:
        return torch.randperm(count, generator=seeds.generator("unsharing", name, self.seed))


class _Batches(Sequence[Batch]):
    """Some images as networks read them, made when they are asked for."""

    def __init__(self, source: Measurable, images: Labelled, places: Tensor) -> None:
        self._source, self._images = source, images
        self._places = torch.split(places, source.at_once)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Batch:  # type: ignore[override]  # of slices nobody asks
        images, labels = self._images
        chosen = self._places[index].to(images.device)
        device = self._source.device
        return self._source.inputs(images[chosen].to(device)), labels[chosen].to(device)


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is to be found out of the allocation of delivered networks.

    Attributes:
        source: what there is to measure on.
        before: the plan that `richer` is held against.
        richer: what the method makes of more budget; None: it makes nothing.
        why_not: why nothing is measured, a sentence; "": it is.
    """

    source: Measurable
    before: Plan
    richer: Plan | None
    why_not: str


def explained(model: SharedModel, asked: Question) -> AllocationReport:
    """Return the report's part on the allocation of delivered networks.

    Args:
        model: as delivered; it is left as it is.
        asked: what is to be found out.
    """
    source, why_not = asked.source, asked.why_not
    rows = _in_depth_order(model.plan)
    made = effort(model.plan, source.images(), 0.0 if why_not else source.allowed)
    layers, measuring = [layer_report(row) for row in rows], None
    if made.layers:
        try:
            layers, measuring = _measured(model, source, made, rows)
        except DataError as error:  # what was trained is delivered all the same
            why_not = str(error)
    sharing = sum(row.group is not None for row in rows)
    return AllocationReport(
        layers=tuple(layers),
        measuring=measuring,
        why_not_measured=why_not or _left_out(sharing, len(made.layers)),
        next_budget=_next_budget(model.plan, asked, layers, is_measured=bool(measuring)),
    )


def _in_depth_order(plan: Plan) -> list[LayerShare]:
    found = {row.key: row for row in shares(plan)}
    order = [layer.key for layer in arch.planned_layers(plan)]
    return [found[key] for key in order if key in found]


def _left_out(sharing: int, measured: int) -> str:
    if measured == sharing:
        return "" if sharing else "no layer shares"
    if not measured:
        return (
            "the training was too short: measuring one layer takes more than the part of it that "
            "`explain` allows"
        )
    return (
        f"{sharing - measured} of {sharing} layers that share, the smallest, were left out: all "
        "would take more than the part of the training that `explain` allows"
    )


def _measured(
    model: SharedModel, source: Measurable, made: Effort, rows: Sequence[LayerShare]
) -> tuple[list[LayerReport], MeasuringReport]:
    learned, held_out = source.chosen(made)
    with reproducible():
        found = unsharing(
            model,
            learned,
            held_out,
            layers=made.layers,
            steps=made.steps,
            progress=source.progress,
        )
    by_key = {(each.network, each.layer): each for each in found.layers}
    layers = [layer_report(row, _unshared(row, by_key)) for row in rows]
    sharing = sum(row.group is not None for row in rows)
    return layers, MeasuringReport(
        images=found.examples,
        are_held_out=len(source.held_out[0]) > 0,
        step_images=found.step_examples,
        steps=found.steps,
        loss=found.loss,
        layers=len(found.layers),
        layers_left_out=sharing - len(found.layers),
        step_share=round(made.cost / source.steps, 6),
    )


def _unshared(row: LayerShare, found: Mapping[LayerKey, UnsharedLayer]) -> UnsharedReport | None:
    if row.key not in found:
        return None
    told = asdict(found[row.key])
    del told["network"], told["layer"]
    return UnsharedReport(**told, parameters=row.parameters - row.own_parameters)


def _next_budget(
    plan: Plan, asked: Question, layers: Sequence[LayerReport], *, is_measured: bool
) -> NextBudgetReport:
    budget = plan.ledger.budget if plan.file is None else plan.file.bytes
    room = int(MORE * (plan.ledger.budget if plan.file is None else plan.ledger.total))
    bought = _bought(layers, room)
    return NextBudgetReport(
        share=MORE,
        budget=grown(budget),
        unit="parameters" if plan.file is None else "bytes",
        plan=None if asked.richer is None else _compared(asked.before, asked.richer),
        why_no_plan="" if asked.richer else "the method makes no plan of more budget from here",
        room=room,
        unshared=bought if is_measured else None,
        parameters=sum(each.parameters for each in bought),
        loss_change=sum(each.loss_change for each in bought),
    )


def _bought(layers: Sequence[LayerReport], room: int) -> tuple[BoughtLayer, ...]:
    """Choose layers to un-share: the largest gain for each scalar first, as long as they fit."""
    gains = [
        (layer, layer.measured)
        for layer in layers
        if layer.measured is not None
        and -layer.measured.loss_change > (layer.measured.standard_error or 0.0)
    ]
    gains.sort(key=lambda pair: pair[1].loss_change / max(1, pair[1].parameters))
    found = []
    for layer, measured in gains:
        if measured.parameters <= room:
            room -= measured.parameters
            found.append(
                BoughtLayer(
                    network=layer.network,
                    layer=layer.layer,
                    parameters=measured.parameters,
                    loss_change=measured.loss_change,
                )
            )
    return tuple(found)


def _compared(before: Plan, richer: Plan) -> RicherPlanReport:
    """Return what a plan of more budget has otherwise."""
    if before.networks != richer.networks:
        return RicherPlanReport(
            parameters=richer.ledger.total,
            dense_parameters=richer.ledger.dense,
            becomes_plain=(),
            moved=0,
            new_groups=0,
            groups=(),
            text=f"larger networks, of {richer.ledger.dense:,} parameters without sharing",
        )
    found, bits = compare(before, richer), _bits(before, richer)
    is_lone = len(richer.networks) == 1
    plain = [move for move in found.moves if move.after is None]
    return RicherPlanReport(
        parameters=richer.ledger.total,
        dense_parameters=richer.ledger.dense,
        becomes_plain=tuple(
            move.layer if is_lone else f"{move.network}/{move.layer}" for move in plain
        ),
        moved=len(found.moves) - len(plain),
        new_groups=sum(change.before is None for change in found.groups),
        groups=_grown(found),
        bits=bits,
        text=_text(found)
        + ("" if bits is None else f"\nbits of a weight: {bits[0]} -> {bits[1]}"),
    )


def _bits(before: Plan, richer: Plan) -> tuple[float, float] | None:
    if before.file is None or richer.file is None:
        return None
    return before.file.bits, richer.file.bits


def _grown(found: Comparison) -> tuple[GrownGroup, ...]:
    return tuple(
        GrownGroup(
            group=change.before,
            templates=change.templates,
            layers=change.layers,
            parameters=change.parameters,
        )
        for change in found.groups
        if change.before is not None and change.parameters[0] != change.parameters[1]
    )


def _text(found: Comparison) -> str:
    lines = found.text().split("\n")
    rest = len(lines) - _MOST_LINES
    return "\n".join(lines if rest <= 0 else [*lines[:_MOST_LINES], f"and {rest} lines more"])
