"""What a report says of the allocation, layer by layer: `allocation` in report.json."""

from npas.delivery.report_part import Part
from npas.plans import Plan
from npas.plans.sharers import LayerShare, shares


class UnsharedReport(Part):
    """What un-sharing one layer does; see `npas.sharing.unsharing.UnsharedLayer`. Losses in nats.

    Attributes:
        loss_change: with the layer un-shared, less with all shared, after as many steps; below 0:
            un-sharing lowers the loss.
        standard_error: of it, over images; None of a lone image.
        own_change: with the layer un-shared, less as delivered.
        shared_change: after as many steps of the bank with all shared, less as delivered.
        parameters: trainable scalars more than now, at most.
    """

    loss_change: float
    standard_error: float | None
    own_change: float
    shared_change: float
    parameters: int


class LayerReport(Part):
    """One layer; see `npas.plans.sharers.LayerShare`.

    Attributes:
        measured: None of plain weights, and where it was not measured.
    """

    network: str
    layer: str
    shape: tuple[int, ...]
    parameters: int
    group: str | None
    recipe: str | None
    own_parameters: int
    group_parameters: int
    readers: int
    shares_with: tuple[str, ...]
    measured: UnsharedReport | None = None


class MeasuringReport(Part):
    """How un-sharing was measured.

    Attributes:
        images: that losses are means over.
        are_held_out: whether no training saw these; else they are training images that no step
            was taken on.
        step_images: training images that steps were taken on.
        steps: at most, for each layer and for each bank.
        loss: of the delivered networks on the images, the sum of all networks; nats.
        layers: that were measured.
        layers_left_out: that share and were too many for the part of the training that may be
            spent: the smallest.
        step_share: optimiser steps that take as long as the measuring, over those of the training.
    """

    images: int
    are_held_out: bool
    step_images: int
    steps: int
    loss: float
    layers: int
    layers_left_out: int
    step_share: float


class GrownGroup(Part):
    """A group of the delivered plan in a plan of more budget; 0 templates: it is gone."""

    group: str
    templates: tuple[int, int]
    layers: tuple[int, int]
    parameters: tuple[int, int]


class RicherPlanReport(Part):
    """The plan that the same method makes of more budget, and of the same evidence.

    Attributes:
        parameters: in all.
        dense_parameters: of its networks without sharing; of other networks than now, others.
        becomes_plain: layers that share now, and there have plain weights; names.
        moved: other layers that share with others than now; how many.
        new_groups: that take no present group's place.
        groups: of the present ones, those that differ.
        bits: expected of each weight in the file, now and then, of a budget in bytes; else None.
        text: all of it, for people.
    """

    parameters: int
    dense_parameters: int
    becomes_plain: tuple[str, ...]
    moved: int
    new_groups: int
    groups: tuple[GrownGroup, ...]
    bits: tuple[float, float] | None = None
    text: str


class BoughtLayer(Part):
    """A layer that would be un-shared: scalars that it takes more, and its measured change."""

    network: str
    layer: str
    parameters: int
    loss_change: float


class NextBudgetReport(Part):
    """What more budget would buy.

    Attributes:
        share: of the budget, how much more.
        budget: that it makes: parameters, or bytes of the file.
        unit: which of them.
        plan: of the same method; None where it makes none, see `why_no_plan`.
        why_no_plan: a sentence; "" where there is a plan.
        room: parameters more that layers may be un-shared for.
        unshared: the choice: by measured gain for each parameter, the largest first, of layers
            whose gain is more than its standard error. None where nothing was measured.
        parameters: that the choice takes.
        loss_change: sum of its changes, an estimate: what one un-shared layer does to the gain of
            another is left out. Nats.
    """

    share: float
    budget: int
    unit: str
    plan: RicherPlanReport | None
    why_no_plan: str
    room: int
    unshared: tuple[BoughtLayer, ...] | None
    parameters: int
    loss_change: float


class AllocationReport(Part):
    """Who shares with whom, what it costs, and what more budget would buy.

    Attributes:
        layers: in depth order where the networks were built; of a plan alone, group by group.
        measuring: how; None where nothing was measured.
        why_not_measured: a sentence; "" where all layers that share were.
        next_budget: None before a network is delivered.
    """

    layers: tuple[LayerReport, ...]
    measuring: MeasuringReport | None = None
    why_not_measured: str = ""
    next_budget: NextBudgetReport | None = None


def allocation_of(plan: Plan, why_not_measured: str) -> AllocationReport:
    """Return what a plan alone says of who shares with whom.

    Args:
        plan: any.
        why_not_measured: a sentence.
    """
    return AllocationReport(
        layers=tuple(map(layer_report, shares(plan))), why_not_measured=why_not_measured
    )


def layer_report(row: LayerShare, measured: UnsharedReport | None = None) -> LayerReport:
    """Return the report on one layer."""
    return LayerReport.model_validate(row.model_dump() | {"measured": measured})
