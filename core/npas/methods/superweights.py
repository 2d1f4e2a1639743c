"""SuperWeights: layers composed of shared blocks; gradients tell which layers may share.

Source: Teterwak et al., "Learning to Compose SuperWeights for Neural Parameter Allocation
Search", WACV 2024: geometry of section 2.1 (`npas.blocks`), gradient similarity of section 2.2.
Differences from the released code, which exceeds budgets silently and may never end:
* bins that do not fit the budget are made fewer, down to one per kernel class, else infeasible;
* clustering is average linkage, deterministic, and always ends; it merges while layers agree
  more than the threshold, and on until the budget holds (the code lowers its threshold step by
  step instead);
* the count covers blocks as they are stored, coefficients, private layers and norms;
* a group whose sharing saves nothing keeps plain weights.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from npas import blocks
from npas.arch.layers import Layer, LayerTable, Role
from npas.evidence import Evidence
from npas.methods import Allocation, Stage
from npas.methods._linkage import merges
from npas.plans import Bank, Group, Slot
from npas.spec import Spec

Part = tuple[Layer, ...]
"""Layers that may share: one group of the plan, or private layers if sharing saves nothing."""


class SuperWeightsOptions(Spec):
    """Options of `superweights`; the defaults are the released code's."""

    bins: int = Field(4, ge=1, le=1000, description="depth bins before the search")
    max_templates: int = Field(8, ge=1, le=64, description="most templates per SuperWeight")
    search: bool = Field(True, description="train briefly, then group by gradient agreement")
    search_epochs: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description='epochs of the search stage; "auto": a tenth of all epochs, at least 1'
    )
    threshold: float = Field(0.1, ge=-1, le=1, description="layers that agree more are merged")
    private: tuple[Role, ...] = Field(
        ("classifier",), strict=False, description="roles that never share"
    )

    @field_validator("private")
    @classmethod
    def _in_one_order(cls, value: tuple[Role, ...]) -> tuple[Role, ...]:
        """Return each role once: a set given in Python has another order in every process."""
        return tuple(sorted(set(value)))


class Shape:
    """The banks of one part while templates are dealt out."""

    def __init__(self, part: Part, *, tied: bool) -> None:
        self.part = part
        self.shapes = blocks.ordered({layer.shape for layer in part})
        self.sizes = blocks.sizes(self.shapes)
        self.reads = [blocks.reads(self.shapes, layer.shape) for layer in part]
        self.users = [sum(bank in r for r in self.reads) for bank in range(len(self.shapes))]
        self.templates = [1] * len(self.shapes)
        self.tied = tied
        self.own = sum(layer.size for layer in part)

    def rows(self, bank: int, templates: int) -> int:
        """Return a bank's coefficient vectors; a lone reader of a lone template needs none."""
        if templates == 1 and self.users[bank] == 1:
            return 0
        return 1 if self.tied else self.users[bank]

    def price(self, bank: int, templates: int) -> int:
        """Return the parameters of a bank with so many templates."""
        return templates * (self.sizes[bank] + self.rows(bank, templates))

    @property
    def shared(self) -> int:
        """Parameters of all banks."""
        return sum(self.price(bank, k) for bank, k in enumerate(self.templates))

    @property
    def is_private(self) -> bool:
        """Whether sharing saves nothing, so that plain weights are as small and as free."""
        few = all(k <= u for k, u in zip(self.templates, self.users, strict=True))
        return self.shared >= self.own and few

    @property
    def cost(self) -> int:
        """Parameters of the part as it will be stored."""
        return self.own if self.is_private else self.shared

    def group(self, name: str) -> Group:
        """Return the part as a group of the plan."""
        banks = tuple(
            Bank(shape=shape, size=size, templates=k, rows=self.rows(bank, k))
            for bank, (shape, size, k) in enumerate(
                zip(self.shapes, self.sizes, self.templates, strict=True)
            )
        )
        counters = [itertools.count() for _ in banks]
        slots = []
        for layer, reads in zip(self.part, self.reads, strict=True):
            rows: list[int | None] = [None] * len(banks)
            for bank in reads:
                own_row = next(counters[bank])
                rows[bank] = own_row if banks[bank].rows > 1 else 0
            slots.append(
                Slot(network=layer.network, layer=layer.name, shape=layer.shape, rows=tuple(rows))
            )
        return Group(name=name, recipe="nest", banks=banks, slots=tuple(slots))


def depth_bins(layers: Sequence[Layer], num_bins: int) -> list[Part]:
    """Split layers by kernel class, then each network's into consecutive bins, nearly equal.

    A class with a share s of all layers gets max(1, round(num_bins * s)) bins; a bin holds the
    layers that stand at the same relative depth in every network.
    """
    classes: dict[str, list[Layer]] = defaultdict(list)
    for layer in layers:
        classes[layer.kernel_class].append(layer)
    parts: list[Part] = []
    for members in classes.values():
        count = max(1, round(num_bins * len(members) / len(layers)))
        bins: list[list[Layer]] = [[] for _ in range(count)]
        networks: dict[str, list[Layer]] = defaultdict(list)
        for layer in members:
            networks[layer.network].append(layer)
        for own in networks.values():
            edges = np.linspace(0, len(own), count + 1).round().astype(int)
            for index, (start, end) in enumerate(itertools.pairwise(edges)):
                bins[index].extend(own[start:end])
        parts.extend(tuple(b) for b in bins if b)
    return parts


def shapes_of(parts: Sequence[Part], *, tied: bool = False) -> list[Shape]:
    """Return the banks of every part, one template each."""
    return [Shape(part, tied=tied) for part in parts]


def cost(shapes: Sequence[Shape]) -> int:
    """Return the parameters of all parts."""
    return sum(shape.cost for shape in shapes)


def most(shapes: Sequence[Shape], cap: int) -> int:
    """Return the parameters that all parts can use when every SuperWeight has `cap` templates."""
    return sum(shape.price(b, cap) for shape in shapes for b in range(len(shape.sizes)))


def fill(shapes: Sequence[Shape], spare: int, cap: int) -> None:
    """Deal out the spare parameters as whole templates, in place.

    Phase A gives the (c + 1)-th template only to SuperWeights with more than c users; phase B, if
    something is left, to any below the cap. Groups and widths in ascending order.
    Source: the released code's default routine; it compares with the budget strictly, here a
    template that fits exactly is given, and savings of groups that turn private are dealt out
    again.
    """
    for limit_by_users in (True, False):
        for count in range(1, cap):
            for shape in shapes:
                for bank, users in enumerate(shape.users):
                    if shape.templates[bank] != count or (limit_by_users and users <= count):
                        continue
                    before = shape.cost
                    shape.templates[bank] += 1
                    price = shape.cost - before
                    if price > spare:
                        shape.templates[bank] -= 1
                    else:
                        spare -= price


class SuperWeights:
    """Nested blocks, grouped by depth and kernel, then by gradient agreement."""

    title = "SuperWeights: nested blocks, groups by gradient agreement (WACV 2024)"
    Options = SuperWeightsOptions

    def searches(self, options: SuperWeightsOptions) -> bool:
        """Return whether the gradient search is on."""
        return options.search

    def _banked(self, table: LayerTable, options: SuperWeightsOptions) -> list[Layer]:
        return [layer for layer in table.layers if layer.role not in options.private]

    def _bins(
        self, table: LayerTable, options: SuperWeightsOptions, *, tied: bool
    ) -> Iterator[list[Shape]]:
        """Yield partitions from `bins` depth bins down to one per kernel class."""
        banked = self._banked(table, options)
        for count in range(min(options.bins, len(banked)), 0, -1):
            yield shapes_of(depth_bins(banked, count), tied=tied)

    def _finished(self, table: LayerTable, shapes: Sequence[Shape]) -> Allocation:
        shared = [shape for shape in shapes if not shape.is_private]
        names = {(layer.network, layer.name) for shape in shared for layer in shape.part}
        return Allocation(
            groups=tuple(shape.group(f"g{i}") for i, shape in enumerate(shared)),
            private=tuple(la for la in table.layers if (la.network, la.name) not in names),
        )

    def smallest(self, table: LayerTable, options: SuperWeightsOptions) -> Allocation:
        """Return the cheapest of all depth bins, one template each."""
        best = min(self._bins(table, options, tied=False), key=cost, default=[])
        return self._finished(table, best)

    def allocate(
        self,
        table: LayerTable,
        budget: int,
        options: SuperWeightsOptions,
        *,
        evidence: Evidence | None,
        stage: Stage,
    ) -> Allocation:
        """Return groups by evidence where there is any, else by depth, and deal out templates."""
        banked = self._banked(table, options)
        spare = (
            budget
            - table.others
            - sum(layer.size for layer in table.layers if layer.role in options.private)
        )
        if stage == "search":
            fitting = (s for s in self._bins(table, options, tied=True) if cost(s) <= spare)
            # One template each: with tied coefficients more would span the same networks.
            return self._finished(table, next(fitting, []))
        if budget >= table.dense:
            shapes = shapes_of([(layer,) for layer in banked])
        elif evidence is not None:
            shapes = self._by_agreement(table, options, spare, evidence)
        else:
            shapes = self._by_depth(table, options, spare)
        fill(shapes, spare - cost(shapes), options.max_templates)
        return self._finished(table, shapes)

    def _coarsest(self, table: LayerTable, options: SuperWeightsOptions) -> list[Shape]:
        return min(self._bins(table, options, tied=False), key=cost, default=[])

    def _by_depth(
        self, table: LayerTable, options: SuperWeightsOptions, spare: int
    ) -> list[Shape]:
        """Return the most depth bins up to `bins` that fit; more if they leave budget unused."""
        banked = self._banked(table, options)
        fitting = (s for s in self._bins(table, options, tied=False) if cost(s) <= spare)
        shapes = next(fitting, None) or self._coarsest(table, options)
        count = options.bins
        while most(shapes, options.max_templates) < spare and count < len(banked):
            count = min(2 * count, len(banked))
            finer = shapes_of(depth_bins(banked, count))
            if cost(finer) > spare:
                break
            shapes = finer
        return shapes

    def _by_agreement(
        self, table: LayerTable, options: SuperWeightsOptions, spare: int, evidence: Evidence
    ) -> list[Shape]:
        """Return the groups of the gradient search.

        Layers start alone and merge by average linkage, inside their depth bin first, then inside
        their kernel class. Of all partitions on the way, those that fit the budget and can use it
        are admissible; the one where all layers that agree more than the threshold have merged is
        taken, or the nearest admissible one.
        """
        banked = self._banked(table, options)
        bins = depth_bins(banked, options.bins)
        taken: list[Shape] | None = None
        cache: dict[Part, Shape] = {}
        for parts, agreement in merges(banked, bins, evidence):
            shapes = [cache.setdefault(p, Shape(p, tied=False)) for p in parts]
            if cost(shapes) > spare:
                continue
            if taken is not None and most(shapes, options.max_templates) < spare:
                break
            taken = shapes
            if agreement <= options.threshold:
                break
        if taken is None:
            return self._by_depth(table, options, spare)
        return shapes_of([shape.part for shape in taken])


METHOD = SuperWeights()
