"""Shapeshifter networks: groups of layers of any shape read one flat bank.

Source: Plummer et al., "Neural Parameter Allocation Search", ICLR 2022. Which layers form a group
is the mapping of section 3.2; how they read the bank is section 3.1 (`npas.plans.windows`).
Differences from the released code:
* the budget covers everything trainable, and every scalar of a bank is read;
* lone layers keep plain weights only while they take at most half of the budget;
* learned groups are average linkage on a fixed gauge: cosines of coefficients under the metric of
  the templates, so that any other basis of the same templates gives the same groups (the code
  runs k-means on raw coefficients, which depend on the basis);
* above the dense size every layer has a bank of its own with up to `max_windows` templates, which
  holds every dense network; sharing there would not.
"""

import math
import random
from collections import defaultdict
from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from npas.arch.layers import Layer, LayerTable, named
from npas.errors import InvalidSpecError
from npas.methods import Allocation, Method, ungrouped
from npas.methods._bank_sizing import (
    Distribution,
    EmbeddedPool,
    FlatPool,
    distributed_freely,
    finished,
    without_lone_layers,
)
from npas.methods._linkage import nearest_groups
from npas.methods._parts import Layers
from npas.methods._small import Private, banked, banked_within, private_field
from npas.plans import Bank, Group, Slot, Stage
from npas.plans.evidence import Evidence, EvidenceKind
from npas.plans.windows import Upsample, num_read
from npas.spec import Spec

SEARCH_TEMPLATES = 4
"""Templates of the one group that is trained before layers are put into groups; the code's."""

Pattern = Annotated[str, Field(min_length=1, max_length=200)]
Patterns = Annotated[tuple[Pattern, ...], Field(max_length=1000, strict=False)]

MAX_PATTERNS = 1000
"""Most patterns of all groups; each is held against every layer."""


class SSNOptions(Spec):
    """Options of `ssn`."""

    groups: Literal["learned", "single", "kind", "shape", "random", "manual"] = Field(
        "learned",
        description="learned: clusters of a short training; single: all layers; kind: one per "
        "layer kind; shape: one per kind and shape; random; manual: see `manual`",
    )
    num_groups: int = Field(4, ge=1, le=1000, description="for learned and random")
    manual: Annotated[tuple[Patterns, ...], Field(max_length=1000)] = Field(
        (),
        strict=False,
        validate_default=True,
        description="for groups manual, and only for them: one list of layer names per group, "
        "* allowed",
    )
    upsample: Upsample = Field("interpolate", description="for layers larger than their bank")
    share: Literal["wavg", "emb"] = Field(
        "wavg", description="what mixes windows: coefficients, or a shared map of a layer's vector"
    )
    embedding: int = Field(24, ge=1, le=1024, description="for emb: scalars of a layer's vector")
    max_windows: int = Field(8, ge=1, le=64, description="most templates of one layer")
    seed: int = Field(0, ge=0, lt=2**31, description="for random")
    search_epochs: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description='for learned; "auto": a tenth of all epochs, at least 1'
    )
    private: Private = private_field()

    @field_validator("manual")
    @classmethod
    def _not_too_many(cls, value: tuple[Patterns, ...]) -> tuple[Patterns, ...]:
        if (count := sum(map(len, value))) > MAX_PATTERNS:
            raise ValueError(f"{count:,} patterns; at most {MAX_PATTERNS:,} in all groups")
        return value

    @field_validator("manual")
    @classmethod
    def _where_groups_are_manual(
        cls, value: tuple[Patterns, ...], info: ValidationInfo
    ) -> tuple[Patterns, ...]:
        groups = info.data.get("groups", "manual")
        if groups != "manual" and value:
            raise ValueError(f'groups is "{groups}"; name layers with groups "manual" only')
        if info.data.get("groups") == "manual" and not all(value or [()]):
            raise ValueError(
                'groups "manual" needs the names of layers for each group, such as '
                '[["stages.0.*", "stages.1.*"], ["stages.2.*"]]'
            )
        return value


def random_groups(layers: Layers, count: int, seed: int) -> list[Layers]:
    """Return a random partition: every group has at least one layer, the rest fall anywhere."""
    chance = random.Random(seed)
    count = min(count, len(layers))
    labels = [*range(count), *(chance.randrange(count) for _ in range(len(layers) - count))]
    chance.shuffle(labels)
    return _by_label(layers, labels)


def _by_label(layers: Layers, labels: list[int]) -> list[Layers]:
    groups: dict[int, list[Layer]] = defaultdict(list)
    for layer, label in zip(layers, labels, strict=True):
        groups[label].append(layer)
    return [tuple(group) for group in groups.values()]


def manual_groups(layers: Layers, patterns: tuple[tuple[str, ...], ...]) -> list[Layers]:
    """Return the groups whose patterns layers match, each layer in the first; the rest alone.

    Raises:
        InvalidSpecError: a pattern matches no layer.
    """
    labels: dict[int, int] = {}
    for index, pattern in ((i, p) for i, group in enumerate(patterns) for p in group):
        found = named(pattern, layers)
        if not found:
            raise InvalidSpecError(
                f"no layer is called {pattern!r}; the first ones are "
                f"{', '.join(la.name for la in layers[:5])}",
                field=f"/method/manual/{index}",
            )
        for number in found:
            labels.setdefault(number, index)
    alone = len(patterns)
    return _by_label(layers, [labels.get(n, alone + n) for n in range(len(layers))])


def _private(options: SSNOptions) -> Private:
    """Return the option `private`; without one, nothing where groups were named by hand."""
    is_default = options.groups == "manual" and options.private == "small"
    return () if is_default else options.private


class SSN(Method):
    """Flat banks, read by layers of any shape."""

    title = "Shapeshifter network: layers of any shape read one flat bank (ICLR 2022)"
    Options = SSNOptions
    evidence_kind: EvidenceKind = "representation"
    only_with: ClassVar = {
        "num_groups": ("groups", ("learned", "random")),
        "seed": ("groups", ("random",)),
        "search_epochs": ("groups", ("learned",)),
        "embedding": ("share", ("emb",)),
    }

    def search_epochs(self, options: SSNOptions, *, epochs: int) -> int:
        """Return how long the one group trains before layers are put into groups."""
        if options.groups != "learned":
            return 0
        wanted = options.search_epochs
        return max(1, epochs // 10) if wanted == "auto" else wanted

    def _partition(
        self, layers: Layers, options: SSNOptions, evidence: Evidence | None
    ) -> list[Layers]:
        if options.groups == "manual":
            return manual_groups(layers, options.manual)
        if options.groups == "random":
            return random_groups(layers, options.num_groups, options.seed)
        if options.groups == "learned" and evidence is not None:
            return nearest_groups(layers, evidence, options.num_groups)
        groups: dict[object, list[Layer]] = defaultdict(list)
        for layer in layers:
            key = {"kind": layer.kind, "shape": (layer.kind, layer.shape)}
            groups[key.get(options.groups)].append(layer)
        return [tuple(group) for group in groups.values()]

    def _pools(self, partition: list[Layers], options: SSNOptions) -> list[FlatPool]:
        if options.share == "emb":
            return [
                EmbeddedPool(
                    layers,
                    upsample=options.upsample,
                    max_windows=options.max_windows,
                    embedding=options.embedding,
                )
                for layers in partition
            ]
        return [
            FlatPool(layers, upsample=options.upsample, max_windows=options.max_windows)
            for layers in partition
        ]

    def _smallest(self, layers: Layers, options: SSNOptions) -> list[FlatPool]:
        """Return the pools of the fewest parameters: one, if groups are still to be learned."""
        partition = self._partition(layers, options, None)
        return self._pools([group for group in partition if group], options)

    def smallest(self, table: LayerTable, options: SSNOptions) -> Allocation:
        """Return the cheapest bank of every group."""
        pools = self._smallest(banked(table, _private(options)), options)
        return finished(table.layers, [(pool, pool.fitting(pool.least_cost)) for pool in pools])

    def allocate(
        self,
        table: LayerTable,
        budget: int,
        options: SSNOptions,
        *,
        evidence: Evidence | None,
        stage: Stage,
    ) -> Allocation:
        """Return banks in proportion to their layers."""
        least = self.smallest(table, options).num_parameters
        layers = banked_within(table, _private(options), budget, least)
        spare = budget - table.dense + sum(layer.size for layer in layers)
        if stage == "search" and layers and (group := one_group(layers, spare)):
            return Allocation(groups=(group,), private=ungrouped(table.layers, (group,)))
        if budget >= table.dense:
            return finished(table.layers, self._each_alone(layers, options, spare))
        partition = self._partition(layers, options, evidence)
        pools = self._pools([group for group in partition if group], options)
        if sum(pool.least_cost for pool in pools) > spare:
            pools = self._smallest(layers, options)
        left, lone = without_lone_layers(pools, spare)
        distributed = distributed_freely(left, spare - sum(layer.size for layer in lone))
        return finished(table.layers, distributed)

    def _each_alone(self, layers: Layers, options: SSNOptions, spare: int) -> Distribution:
        """Return a bank of several whole templates for every layer that the budget has more for.

        A layer with K templates of its own size and K coefficients, the largest layers last.
        """
        most = options.max_windows
        pools = [FlatPool((la,), upsample=options.upsample, max_windows=most) for la in layers]
        counts = [1] * len(pools)
        left = spare - sum(pool.own for pool in pools)
        for count in range(2, most + 1):
            for index in sorted(range(len(pools)), key=lambda i: (pools[i].own, i)):
                own = pools[index].own
                price = own + (1 if count > 2 else count)  # a lone template has no coefficient
                if counts[index] == count - 1 and price <= left:
                    counts[index], left = count, left - price
        return [(p, None if k == 1 else k * p.own) for p, k in zip(pools, counts, strict=True)]


def one_group(layers: Layers, spare: int) -> Group | None:
    """Return all layers as resized mixes of a few templates, None where that is too much.

    Args:
        layers: of all shapes.
        spare: scalars for templates and coefficients.
    """
    largest = max((layer.shape for layer in layers), key=math.prod)
    taps = max(math.prod(layer.shape[2:]) for layer in layers)
    for templates in range(SEARCH_TEMPLATES, 0, -1):
        size = min(spare // templates - len(layers), math.prod(largest))
        while size >= taps and (read := num_read(largest, size)) < size:
            size = read
        if size >= taps:
            break
    else:
        return None
    bank = Bank(shape=largest, size=size, templates=templates, rows=len(layers))
    slots = tuple(
        Slot(network=layer.network, layer=layer.name, shape=layer.shape, rows=(row,))
        for row, layer in enumerate(layers)
    )
    return Group(name="g0", recipe="resize", banks=(bank,), slots=slots)


METHOD = SSN()
