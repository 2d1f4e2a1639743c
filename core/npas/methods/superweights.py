"""SuperWeights: layers composed of shared blocks; gradients tell which layers may share.

Source: Teterwak et al., "Learning to Compose SuperWeights for Neural Parameter Allocation
Search", WACV 2024: geometry of section 2.1 (`npas.blocks`), gradient similarity of section 2.2.
Differences from the released code, which exceeds budgets silently and may never end:
* bins that do not fit the budget are made fewer, down to one per kernel class, else infeasible;
* clustering is average linkage, deterministic, and always ends; it merges while layers agree
  more than the threshold, and on until the budget holds (the code lowers its threshold step by
  step instead);
* the count covers blocks as they are stored, coefficients, private layers and norms;
* a group whose sharing saves nothing keeps plain weights;
* what is left after the templates frees single layers, below the dense size; the code gives it to
  SuperWeights that already have a template for every reader, which makes no more networks
  possible.
"""

import functools
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from npas.arch.layers import Layer, LayerTable, Role
from npas.evidence import Evidence
from npas.methods import Allocation
from npas.methods._linkage import merges
from npas.methods._parts import Layers, Part, cost, fill, freed, most, parts_of, trimmed
from npas.plans import Stage
from npas.spec import Spec


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


def depth_bins(layers: Sequence[Layer], num_bins: int) -> list[Layers]:
    """Split layers by kernel class, then each network's into consecutive bins, nearly equal.

    A class with a share s of all layers gets max(1, round(num_bins * s)) bins; a bin holds the
    layers that stand at the same relative depth in every network.
    """
    classes: dict[str, list[Layer]] = defaultdict(list)
    for layer in layers:
        classes[layer.kernel_class].append(layer)
    found: list[Layers] = []
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
        found.extend(tuple(b) for b in bins if b)
    return found


class SuperWeights:
    """Nested blocks, grouped by depth and kernel, then by gradient agreement."""

    title = "SuperWeights: nested blocks, groups by gradient agreement (WACV 2024)"
    Options = SuperWeightsOptions

    def search_epochs(self, options: SuperWeightsOptions, *, epochs: int) -> int:
        """Return how long the gradient search trains, 0 where it is off."""
        if not options.search:
            return 0
        wanted = options.search_epochs
        return max(1, epochs // 10) if wanted == "auto" else wanted

    def _banked(self, table: LayerTable, options: SuperWeightsOptions) -> list[Layer]:
        return [layer for layer in table.layers if layer.role not in options.private]

    def _bins(
        self, table: LayerTable, options: SuperWeightsOptions, *, tied: bool
    ) -> Iterator[list[Part]]:
        """Yield partitions from `bins` depth bins down to one per kernel class."""
        banked = self._banked(table, options)
        for count in range(min(options.bins, len(banked)), 0, -1):
            yield parts_of(depth_bins(banked, count), tied=tied)

    def _finished(self, table: LayerTable, parts: Sequence[Part]) -> Allocation:
        shared = [part for part in parts if not part.is_private]
        names = {(layer.network, layer.name) for part in shared for layer in part.layers}
        return Allocation(
            groups=tuple(part.group(f"g{i}") for i, part in enumerate(shared)),
            private=tuple(la for la in table.layers if (la.network, la.name) not in names),
        )

    def smallest(self, table: LayerTable, options: SuperWeightsOptions) -> Allocation:
        """Return the cheapest of all depth bins, one template each."""
        return self._finished(table, self._cheapest(table, options))

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
            cheapest = [part.layers for part in self._cheapest(table, options)]
            return self._finished(table, next(fitting, parts_of(cheapest, tied=True)))
        if budget >= table.dense:
            parts = parts_of([(layer,) for layer in banked])
        elif evidence is not None:
            parts = self._by_agreement(table, options, spare, evidence)
        else:
            parts = self._by_depth(table, options, spare)
        left = fill(parts, spare - cost(parts), options.max_templates, to_users=True)
        if budget >= table.dense:
            fill(parts, left, options.max_templates, to_users=False)
        else:
            parts = freed(parts, left)
        return self._finished(table, parts)

    def _cheapest(self, table: LayerTable, options: SuperWeightsOptions) -> list[Part]:
        return trimmed(min(self._bins(table, options, tied=False), key=cost, default=[]))

    def _by_depth(self, table: LayerTable, options: SuperWeightsOptions, spare: int) -> list[Part]:
        """Return the most depth bins up to `bins` that fit; more if they leave budget unused."""
        banked = self._banked(table, options)
        fitting = (s for s in self._bins(table, options, tied=False) if cost(s) <= spare)
        parts = next(fitting, None) or self._cheapest(table, options)
        count = options.bins
        while most(parts, options.max_templates) < spare and count < len(banked):
            count = min(2 * count, len(banked))
            finer = parts_of(depth_bins(banked, count))
            if cost(finer) > spare:
                break
            parts = finer
        return parts

    def _by_agreement(
        self, table: LayerTable, options: SuperWeightsOptions, spare: int, evidence: Evidence
    ) -> list[Part]:
        """Return the groups of the gradient search.

        Layers start alone and merge by average linkage, inside their depth bin first, then inside
        their kernel class. Of all partitions on the way, those that fit the budget and can use it
        are admissible; the one where all layers that agree more than the threshold have merged is
        taken, or the nearest admissible one.
        """
        banked = self._banked(table, options)
        bins = depth_bins(banked, options.bins)
        taken: list[Part] | None = None
        part_of = functools.cache(functools.partial(Part, tied=False))
        for partition, agreement in merges(banked, bins, evidence):
            parts = [part_of(layers) for layers in partition]
            if cost(parts) > spare:
                continue
            if taken is not None and most(parts, options.max_templates) < spare:
                break
            taken = parts
            if agreement <= options.threshold:
                break
        return self._by_depth(table, options, spare) if taken is None else taken


METHOD = SuperWeights()
