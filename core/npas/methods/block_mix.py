"""Block mixes: layers cut into equal blocks, each a mix of one bank's templates.

A hybrid of our own, of two papers. From Teterwak et al., "Learning to Compose SuperWeights for
Neural Parameter Allocation Search", WACV 2024: templates are mixed into blocks, and blocks make
layers. From Wang et al., "Recurrent Parameter Generators", WACV 2023, below a quarter of the plain
weights: every block reads the scalars of its mix in a fixed random order with fixed random signs,
one or two templates serve all layers of a kernel class, and coefficients are a few dozen in
millions of weights. That is a relative of random sharing, not of nested blocks.

All layers of a kernel class read one bank, but those where a scalar is used in the most places:
they keep plain weights, while the others keep a tenth. A short training with a look at gradients
finds nearly the same layers (docs/decisions/0011, 0049); with `search` it is done.
Why blocks are as they are: docs/decisions/0009; why it has a name of its own: 0014.

From the dense size on every layer has a bank of its own, and where no equal blocks fit, but nested
ones do, blocks nest, both as in the paper's method.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, field_validator

from npas.arch.layers import Layer, LayerTable, Role
from npas.methods import EVIDENCE_BATCHES, Allocation, Method
from npas.methods._bins import BinBy, bins_of
from npas.methods._linkage import energies
from npas.methods._nests import NESTED_TEMPLATES, Nests, nested
from npas.methods._parts import Layers
from npas.methods._stacks import MOST_SHUFFLED, agreeing_groups, smallest_stack, stack
from npas.plans import Group, Stage
from npas.plans.evidence import Evidence
from npas.spec import MethodSpec, Spec

SHUFFLED_BELOW = 0.25
"""Share of the plain weights below which blocks are shuffled."""

MOST_GROUPS = 4
"""After a search; and bins of nested blocks."""

CONFLICT = -0.1
"""Agreement below which two groups of layers part: the more layers share a bank, the better."""

STEM_SHARE = 16
"""A stem stays plain where the budget is so many times as large."""

SHARING_EXPONENT = 1 / 8
"""Layers that share a bank of a part r of their plain weights do r to this power of what plain
weights do: about how accuracy falls with the budget, docs/results.md. The first scalars matter
most."""

LEAST_SHARE = 0.1
"""Layers that share keep a bank of at least this part of their plain weights, or none is freed."""


class BlockMixOptions(Spec):
    """Options of `block_mix`."""

    bins: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="bins, or layers in a bin, left out: 1; with a search most groups after it, "
        "left out: 4",
    )
    bin_by: BinBy = Field(
        "depth", description="without a search, what bins counts: by depth, or layers of one bin"
    )
    max_templates: int | None = Field(
        None,
        ge=1,
        le=64,
        description="most templates of a bank; left out: 64; where blocks are shuffled, 2 at most",
    )
    search: bool = Field(
        False,
        description="train briefly, then part layers that conflict and free layers by gradients",
    )
    search_epochs: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description='epochs of the search stage; "auto": a tenth of all epochs, at least 1'
    )
    threshold: float = Field(
        CONFLICT, ge=-1, le=1, description="layers that agree more share; above -0.1 it counts so"
    )
    keep_plain: bool = Field(
        True,
        description="layers with the most multiply-adds for their size keep plain weights; after "
        "a search those with the largest gradients",
    )
    private: tuple[Role, ...] = Field(
        ("classifier",), strict=False, description="roles that never share"
    )
    evidence_batches: int = Field(
        EVIDENCE_BATCHES,
        ge=1,
        le=10_000,
        description="mini-batches that gradients are measured on",
    )

    @field_validator("private")
    @classmethod
    def _in_one_order(cls, value: tuple[Role, ...]) -> tuple[Role, ...]:
        """Return each role once: a set given in Python has another order in every process."""
        return tuple(sorted(set(value)))


class BlockMix(Method):
    """Equal blocks, all of a kernel class from one bank, shuffled where the bank is small."""

    title = (
        "Block mix: equal blocks mix one bank's templates; below a quarter of the dense size in "
        "random orders with random signs (ours)"
    )
    Options = BlockMixOptions
    plan_version = 2
    only_with = dict.fromkeys(
        ("search_epochs", "evidence_batches", "threshold"), ("search", (True,))
    )

    def formerly(self, spec: MethodSpec, groups: Sequence[Group]) -> MethodSpec:
        """Return the method that made a plan of version 1: it searched unless told otherwise."""
        del groups
        was_searched = spec.options.get("search", True)
        meant = {"search": True} if was_searched else {"bins": 4, "keep_plain": False}
        return MethodSpec(name=spec.name, **{**meant, **spec.options})

    def counts_uses(self, options: BlockMixOptions) -> bool:
        """Return whether multiply-adds say which layers keep plain weights."""
        return options.keep_plain and not options.search

    def search_epochs(self, options: BlockMixOptions, *, epochs: int) -> int:
        """Return how long to train before gradients are measured, 0 where nothing is searched."""
        if not options.search:
            return 0
        wanted = options.search_epochs
        return max(1, epochs // 10) if wanted == "auto" else wanted

    def evidence_batches(self, options: BlockMixOptions) -> int:
        """Return the number that was asked for."""
        return options.evidence_batches

    def idle(self, options: BlockMixOptions, groups: Sequence[Group]) -> Mapping[str, str]:
        """Return the options that equal blocks have no use for, and why."""
        if not any(group.recipe == "stack" for group in groups):
            return {}
        found = {}
        if options.search:
            found["bin_by"] = "the search forms the groups"
        if options.threshold > CONFLICT:
            found["threshold"] = f"layers part below {CONFLICT} only"
        if (
            any(group.settings for group in groups)
            and (options.max_templates or 0) > MOST_SHUFFLED
        ):
            found["max_templates"] = f"shuffled blocks have {MOST_SHUFFLED} at most"
        return found

    def _nests(self, table: LayerTable, options: BlockMixOptions) -> Nests:
        return Nests(
            layers=table.split(options.private)[0],
            bins=options.bins or MOST_GROUPS,
            by=options.bin_by,
            max_templates=options.max_templates or NESTED_TEMPLATES,
        )

    def smallest(self, table: LayerTable, options: BlockMixOptions) -> Allocation:
        """Return the cheapest equal blocks, or blocks that nest where those are fewer scalars."""
        stacked = smallest_stack(table, table.split(options.private)[0], shuffled=True)
        nesting = nested(table, self._nests(table, options).cheapest())
        return min(nesting, stacked, key=lambda found: found.num_parameters)

    def allocate(
        self,
        table: LayerTable,
        budget: int,
        options: BlockMixOptions,
        *,
        evidence: Evidence | None,
        stage: Stage,
    ) -> Allocation:
        """Return one bank per kernel class, apart from layers that conflict or stay plain."""
        banked, private = table.split(options.private)
        spare = budget - table.others - sum(layer.size for layer in private)
        known = None if stage == "search" else evidence
        if budget < table.dense and (found := self._stacked(table, banked, options, spare, known)):
            return found
        nests = self._nests(table, options)
        if stage == "search":
            return nested(table, nests.tied(spare))
        if budget >= table.dense:
            return nested(table, nests.alone(spare))
        return nested(table, nests.below_dense(spare, evidence))

    def _stacked(
        self,
        table: LayerTable,
        banked: Layers,
        options: BlockMixOptions,
        spare: int,
        evidence: Evidence | None,
    ) -> Allocation | None:
        """Return equal blocks, None where they do not fit.

        A stem keeps plain weights where that is at most a sixteenth of the budget: its few input
        channels fill no block. So do layers that are worth the most for their size.
        """
        partition = None
        if evidence is not None:
            threshold = min(options.threshold, CONFLICT)
            partition = agreeing_groups(banked, evidence, options.bins or MOST_GROUPS, threshold)
        elif not options.search:
            partition = bins_of(banked, options.bins or 1, options.bin_by)
        stems = {la for la in banked if la.role == "stem" and STEM_SHARE * la.size <= spare}
        others = [layer for layer in banked if layer not in stems]
        energy = _worth(banked, evidence) if options.keep_plain else {}
        moved = most_moved(others, spare - sum(stem.size for stem in stems), energy)
        return stack(
            table,
            banked,
            spare,
            options.max_templates,
            partition,
            plain=(stems | moved, stems, set()),
            shuffled_below=SHUFFLED_BELOW,
        )


def _worth(layers: Sequence[Layer], evidence: Evidence | None) -> Mapping[Layer, float]:
    """Return squared lengths of gradients, or multiply-adds; nothing where neither is known."""
    if evidence is not None:
        return energies(layers, evidence)
    counted = {layer: float(layer.macs) for layer in layers if layer.macs is not None}
    return counted if len(counted) == len(layers) else {}


def most_moved(layers: Sequence[Layer], spare: int, energy: Mapping[Layer, float]) -> set[Layer]:
    """Return the layers that should keep plain weights by what they are worth: none, if unknown.

    Plain weights can follow all of a layer's gradient, layers that share a part of it, see
    `SHARING_EXPONENT`. Of all choices that take the layers with most energy for each scalar first,
    the one that follows most.

    Args:
        layers: that may keep plain weights.
        spare: scalars for all of them.
        energy: squared length of each layer's gradient, or what stands for it: a gradient is a
            sum over the places where a weight is used. Empty where nothing is known.
    """
    if not energy:
        return set()
    by_density = sorted(layers, key=lambda layer: -energy[layer] / layer.size)
    rest, weights = sum(energy[la] for la in layers), sum(la.size for la in layers)
    plain, best, taken = 0.0, -1.0, 0
    for count, layer in enumerate([*by_density, None]):
        share = min(1.0, spare / max(weights, 1))
        if share < LEAST_SHARE:
            break
        if (followed := plain + rest * share**SHARING_EXPONENT) > best:
            best, taken = followed, count
        if layer is None or layer.size > spare:
            break
        spare, weights = spare - layer.size, weights - layer.size
        plain, rest = plain + energy[layer], rest - energy[layer]
    return set(by_density[:taken])


METHOD = BlockMix()
