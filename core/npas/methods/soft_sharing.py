"""Soft parameter sharing: layers of one shape mix the same few templates.

Source: Savarese & Maire, "Learning Implicitly Recurrent CNNs Through Parameter Sharing", ICLR
2019, section 3: W = sum_j alpha_j T_j, templates of exactly the layer's shape; stem, shortcuts,
first blocks and classifier are private.
Differences: the number of templates follows from the budget (the paper sets it by hand); a
group that would get as many templates as layers keeps plain weights instead, which is the same
space of networks for fewer parameters, unless `templates` asks for it or the budget is above
the dense size. Coefficients may start sparse or as the identity (`npas.recipes._start`), a penalty
may pull layers to be alike (`npas.folding.penalty`), and what came out alike may be folded
(`npas.folding.fold`).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from npas.arch.layers import Layer, LayerTable
from npas.methods import Allocation, Method, Recurrence, ungrouped
from npas.plans import Bank, CoefficientStart, Group, Slot, Stage
from npas.plans.evidence import Evidence
from npas.spec import Option, Spec

OWN = 0
"""Stands for "plain weights" where a number of templates is expected."""

MAX_TEMPLATES = 64
"""Most templates a user may ask for, and most that a budget above the dense size adds."""


class SoftSharingOptions(Spec):
    """Options of `soft_sharing`."""

    templates: int | None = Field(
        None,
        ge=1,
        le=MAX_TEMPLATES,
        description="per group; left out: as many as the budget holds",
    )
    coefficients: CoefficientStart = Field(
        "orthogonal", description="how they start: each row of length 1"
    )
    recurrence: float = Field(
        0.0,
        ge=0,
        le=1,
        description="pulls layers to be alike: times the sum of their similarities, off the loss",
    )
    recurrence_form: Literal["squared", "absolute"] = Field(
        "squared", description="of the similarities that are summed; the paper's is absolute"
    )
    fold: float | None = Field(
        None,
        gt=0,
        le=1,
        description="deliver a folded network too: layers at least so similar become one",
    )


def sharers(table: LayerTable) -> list[tuple[Layer, ...]]:
    """Return the groups: body layers of one kind and shape, at least two of them."""
    groups: dict[tuple[str, tuple[int, ...]], list[Layer]] = defaultdict(list)
    for layer in table.layers:
        if layer.role == "body":
            groups[layer.kind, layer.shape].append(layer)
    return [tuple(layers) for layers in groups.values() if len(layers) > 1]


def num_parameters(layers: Sequence[Layer], templates: int) -> int:
    """Return the parameters of a group: templates and one coefficient vector per layer."""
    if templates == OWN:
        return len(layers) * layers[0].size
    return templates * (layers[0].size + len(layers))


def rungs(layers: Sequence[Layer]) -> list[int]:
    """Return the useful numbers of templates in the order of their cost, plain weights among them.

    Below plain weights, fewer templates than layers; a number that costs as much as plain weights
    is of no use. Above, as many templates as layers and more, up to twice as many.
    """
    own = num_parameters(layers, OWN)
    few = [k for k in range(1, len(layers)) if num_parameters(layers, k) < own]
    most = max(len(layers), min(2 * len(layers), MAX_TEMPLATES))
    return [*few, OWN, *range(len(layers), most + 1)]


def group_of(
    name: str, layers: Sequence[Layer], templates: int, settings: Mapping[str, Option]
) -> Group:
    """Return the group of some layers with a number of templates."""
    shape = layers[0].shape
    bank = Bank(shape=shape, size=layers[0].size, templates=templates, rows=len(layers))
    slots = tuple(
        Slot(network=layer.network, layer=layer.name, shape=shape, rows=(row,))
        for row, layer in enumerate(layers)
    )
    return Group(name=name, recipe="mix", settings=dict(settings), banks=(bank,), slots=slots)


def climb(groups: Sequence[Sequence[Layer]], start: list[int], spare: int) -> list[int]:
    """Give the groups templates, one rung each in turn, the most layers first, while it fits.

    Args:
        groups: layers of each group.
        start: index into `rungs` of each group.
        spare: parameters left.

    Returns:
        The index of the rung that each group reached.
    """
    ladders = [rungs(layers) for layers in groups]
    reached = list(start)
    order = sorted(range(len(groups)), key=lambda g: (-len(groups[g]), g))
    while order:
        moved = []
        for g in order:
            if reached[g] + 1 == len(ladders[g]):
                continue
            now, then = ladders[g][reached[g]], ladders[g][reached[g] + 1]
            price = num_parameters(groups[g], then) - num_parameters(groups[g], now)
            if price <= spare:
                reached[g], spare = reached[g] + 1, spare - price
                moved.append(g)
        order = moved  # what did not fit never will: less and less is left
    return reached


class SoftSharing(Method):
    """Templates per group of same-shape layers."""

    title = "Soft sharing: layers of one shape mix a few templates (ICLR 2019)"
    Options = SoftSharingOptions

    def idle(self, options: SoftSharingOptions, groups: Sequence[Group]) -> Mapping[str, str]:
        """Return the form of a pull that there is none of."""
        del groups
        return {} if options.recurrence else {"recurrence_form": "recurrence is 0"}

    def recurrence(self, options: SoftSharingOptions) -> Recurrence | None:
        """Return the pull that was asked for."""
        if options.recurrence == 0:
            return None
        return Recurrence(strength=options.recurrence, form=options.recurrence_form)

    def fold_at(self, options: SoftSharingOptions) -> float | None:
        """Return the threshold that was asked for."""
        return options.fold

    def _assign(
        self, table: LayerTable, templates: Sequence[int], options: SoftSharingOptions
    ) -> Allocation:
        start = options.coefficients
        settings = {} if start == "orthogonal" else {"coefficients": start}
        shared = [
            (layers, k) for layers, k in zip(sharers(table), templates, strict=True) if k != OWN
        ]
        groups = tuple(
            group_of(f"g{i}", layers, k, settings) for i, (layers, k) in enumerate(shared)
        )
        return Allocation(groups=groups, private=ungrouped(table.layers, groups))

    def smallest(self, table: LayerTable, options: SoftSharingOptions) -> Allocation:
        """Return one template per group, or the number that was asked for."""
        groups = sharers(table)
        if options.templates is not None:
            return self._assign(table, [options.templates] * len(groups), options)
        return self._assign(table, [rungs(layers)[0] for layers in groups], options)

    def allocate(
        self,
        table: LayerTable,
        budget: int,
        options: SoftSharingOptions,
        *,
        evidence: Evidence | None,  # noqa: ARG002 - the groups follow from the shapes
        stage: Stage,  # noqa: ARG002
    ) -> Allocation:
        """Return as many templates as the budget holds, the groups in turn."""
        if options.templates is not None:
            return self.smallest(table, options)
        groups = sharers(table)
        ladders = [rungs(layers) for layers in groups]
        if budget >= table.dense:
            start, used = [ladder.index(OWN) for ladder in ladders], table.dense
        else:
            start = [0] * len(groups)
            used = table.others + self.smallest(table, options).num_parameters
        reached = climb(groups, start, budget - used)
        return self._assign(table, [ladders[g][i] for g, i in enumerate(reached)], options)


METHOD = SoftSharing()
