"""SuperWeights: layers composed of shared blocks; gradients tell which layers may share.

Source: Teterwak et al., "Learning to Compose SuperWeights for Neural Parameter Allocation
Search", WACV 2024: geometry of section 2.1 (`npas.blocks`), gradient similarity of section 2.2.
Differences from the released code, which exceeds budgets silently and may never end:
* bins that do not fit the budget are made fewer, down to one per kernel class, else infeasible;
* clustering is average linkage, deterministic, and always ends; it merges while layers agree
  more than the threshold, and on until the budget holds. That is the paper's threshold that
  falls until the budget holds, without its steps: the groups are those of the highest threshold,
  at most the given one, whose groups fit;
* bins are all searched, also where rounding makes more of them than were asked for, and the
  second routine of allocation leaves no part of a bank unread;
* budgets below the dense size are met with equal blocks smaller than layers (recipe `stack`), of
  which a layer has as many as it needs: nested ones, an option, are as large as layers, so that
  few of them fit, and small budgets none (docs/decisions/0009);
* gradients also say which layers keep plain weights (docs/decisions/0011);
* the count covers blocks as they are stored, coefficients, private layers and norms;
* a group whose sharing saves nothing keeps plain weights;
* coefficients that are shared at first leave room in the budget for those that come when layers
  part, and a layer's gradient for them is its own, so that layers of one network can part too;
* what is left after the templates frees single layers, below the dense size; the code gives it to
  SuperWeights that already have a template for every reader, which makes no more networks
  possible.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field, field_validator

from npas.arch.layers import Layer, LayerTable, Role
from npas.errors import InvalidSpecError
from npas.evidence import CoefficientAgreement, Evidence
from npas.methods import EVIDENCE_BATCHES, Allocation, Method, ungrouped
from npas.methods._bins import BinBy, bins_of, coarser, finer
from npas.methods._levels import level
from npas.methods._linkage import energies, merges
from npas.methods._parts import Layers, Part, cost, fill, freed, most, parts_of, trimmed
from npas.methods._stacks import agreeing_groups, smallest_stack, stack
from npas.methods._tying import Coefficients, owners, parted
from npas.plans import Group, Stage
from npas.spec import Spec, pointer

NESTED_TEMPLATES = 8
"""Templates per SuperWeight at most where blocks nest: the released code's default."""


class SuperWeightsOptions(Spec):
    """Options of `superweights`; the defaults are the released code's."""

    bins: int = Field(4, ge=1, le=1000, description="bins before the search, or layers in a bin")
    bin_by: BinBy = Field(
        "depth", description="what bins counts: bins by depth, or layers of one bin"
    )
    blocks: Literal["auto", "nest", "stack"] = Field(
        "auto",
        description="nest: blocks that nest, as large as layers; stack: equal smaller blocks, for "
        "any budget; auto: stack, but nest where coefficients are shared and it fits",
    )
    allocation: Literal["templates", "normalised"] = Field(
        "templates",
        description="templates one by one to the groups with readers for them; or in proportion",
    )
    max_templates: int | None = Field(
        None,
        ge=1,
        le=64,
        description="most templates per SuperWeight; left out: 8 where blocks nest, else 64",
    )
    search: bool = Field(True, description="train briefly, then group by gradient agreement")
    search_epochs: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description='epochs of the search stage; "auto": a tenth of all epochs, at least 1'
    )
    threshold: float = Field(
        0.1,
        ge=-1,
        le=1,
        description="layers that agree more are merged; where blocks are equal, -0.1 at most",
    )
    keep_plain: bool = Field(
        True,
        description="after the search, layers of the largest gradients for their size keep plain "
        "weights, where blocks are equal",
    )
    private: tuple[Role, ...] = Field(
        ("classifier",), strict=False, description="roles that never share"
    )
    evidence_batches: int = Field(
        EVIDENCE_BATCHES, ge=1, le=10_000, description="mini-batches that agreement is measured on"
    )
    coefficients: Coefficients = Field(
        "own",
        description="how they start: each layer's own; shared by all layers of one shape in a "
        "group; or joined, other networks start with the first network's; in a stack always own",
    )
    unshare_epoch: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto",
        description="epoch after which layers that disagree get coefficients of their own; 0: "
        'never; "auto": a twentieth of all epochs, at least 1',
    )
    unshare_threshold: float = Field(
        0.9, ge=-1, le=1, description="layers that agree more go on sharing coefficients"
    )

    @field_validator("private")
    @classmethod
    def _in_one_order(cls, value: tuple[Role, ...]) -> tuple[Role, ...]:
        """Return each role once: a set given in Python has another order in every process."""
        return tuple(sorted(set(value)))


class SuperWeights(Method):
    """Nested blocks, grouped by depth and kernel, then by gradient agreement."""

    title = "SuperWeights: nested blocks, groups by gradient agreement (WACV 2024)"
    Options = SuperWeightsOptions

    def search_epochs(self, options: SuperWeightsOptions, *, epochs: int) -> int:
        """Return how long the gradient search trains, 0 where it is off."""
        if not options.search:
            return 0
        wanted = options.search_epochs
        return max(1, epochs // 10) if wanted == "auto" else wanted

    def evidence_batches(self, options: SuperWeightsOptions) -> int:
        """Return the number that was asked for."""
        return options.evidence_batches

    def refine_after(self, options: SuperWeightsOptions, *, epochs: int) -> int:
        """Return the epoch after which coefficients part, 0 where they never do."""
        wanted = options.unshare_epoch
        if options.coefficients == "own" or wanted == 0:
            return 0
        if wanted == "auto":
            return max(1, epochs // 20) if epochs > 1 else 0
        if wanted >= epochs:
            raise InvalidSpecError(
                f"unshare_epoch {wanted} is not before the end of {epochs} epochs; give a smaller "
                "one, or 0 to share coefficients to the end",
                field=pointer("method", "unshare_epoch"),
            )
        return wanted

    def refine(
        self,
        groups: tuple[Group, ...],
        options: SuperWeightsOptions,
        evidence: CoefficientAgreement,
    ) -> tuple[Group, ...]:
        """Return the groups where only layers that agree share coefficients."""
        return parted(groups, evidence, options.unshare_threshold)

    def _banked(self, table: LayerTable, options: SuperWeightsOptions) -> list[Layer]:
        return [layer for layer in table.layers if layer.role not in options.private]

    def _bins(
        self, table: LayerTable, options: SuperWeightsOptions, *, tied: bool
    ) -> Iterator[list[Part]]:
        """Yield partitions from the asked bins down to one per kernel class."""
        banked = self._banked(table, options)
        for partition in coarser(banked, options.bins, options.bin_by):
            yield parts_of(partition, tied=tied)

    def _finished(
        self,
        table: LayerTable,
        parts: Sequence[Part],
        how: Coefficients = "own",
        evidence: Evidence | None = None,
    ) -> Allocation:
        """Return the allocation; all parts have room for coefficients of each layer's own."""
        shared = [part for part in parts if not part.is_private]
        groups = tuple(
            part.group(f"g{i}", owners(part.layers, how, evidence))
            for i, part in enumerate(shared)
        )
        return Allocation(groups=groups, private=ungrouped(table.layers, groups))

    def smallest(self, table: LayerTable, options: SuperWeightsOptions) -> Allocation:
        """Return the cheapest of all bins, one template each; or of equal blocks."""
        nested = self._finished(table, self._cheapest(table, options))
        if options.blocks == "nest":
            return nested
        stacked = smallest_stack(table, self._banked(table, options))
        if options.blocks == "stack" or stacked.num_parameters < nested.num_parameters:
            return stacked
        return nested

    def allocate(
        self,
        table: LayerTable,
        budget: int,
        options: SuperWeightsOptions,
        *,
        evidence: Evidence | None,
        stage: Stage,
    ) -> Allocation:
        """Return groups by evidence where there is any, else by bins, and deal out templates."""
        banked = self._banked(table, options)
        spare = (
            budget
            - table.others
            - sum(layer.size for layer in table.layers if layer.role in options.private)
        )
        if budget < table.dense and self._is_stacked(table, options, spare):
            known = None if stage == "search" else evidence
            if stacked := self._stacked(table, options, spare, known):
                return stacked
        if stage == "search":
            fitting = (s for s in self._bins(table, options, tied=True) if cost(s) <= spare)
            # One template each: with tied coefficients more would span the same networks.
            cheapest = [part.layers for part in self._cheapest(table, options)]
            return self._finished(table, next(fitting, parts_of(cheapest, tied=True)))
        if budget >= table.dense:
            parts = parts_of([(layer,) for layer in banked])
            left = self._dealt(parts, spare, options, to_users=True)
            self._dealt(parts, cost(parts) + left, options, to_users=False)
        else:
            parts = self._nested(table, options, spare, evidence)
        return self._finished(table, parts, options.coefficients, evidence)

    def _nested(
        self,
        table: LayerTable,
        options: SuperWeightsOptions,
        spare: int,
        evidence: Evidence | None,
    ) -> list[Part]:
        """Return nested blocks below the dense size."""
        if evidence is None:
            parts = self._by_bins(table, options, spare)
        else:
            parts = self._by_agreement(table, options, spare, evidence)
        return freed(parts, self._dealt(parts, spare, options, to_users=True))

    def _dealt(
        self, parts: list[Part], spare: int, options: SuperWeightsOptions, *, to_users: bool
    ) -> int:
        """Deal out templates in place and return what is left."""
        deal = fill if options.allocation == "templates" else level
        return deal(parts, spare - cost(parts), _nested_templates(options), to_users=to_users)

    def _is_stacked(self, table: LayerTable, options: SuperWeightsOptions, spare: int) -> bool:
        if options.blocks != "auto":
            return options.blocks == "stack"
        # Only nested blocks can share coefficients.
        return options.coefficients == "own" or cost(self._cheapest(table, options)) > spare

    def _stacked(
        self,
        table: LayerTable,
        options: SuperWeightsOptions,
        spare: int,
        evidence: Evidence | None,
    ) -> Allocation | None:
        """Return equal blocks: one bank per kernel class, or the groups that agree."""
        banked = self._banked(table, options)
        partition = (
            None
            if evidence is None
            else agreeing_groups(banked, evidence, options.bins, options.threshold)
        )
        if evidence is None and not options.search:
            partition = bins_of(banked, options.bins, options.bin_by)
        energy = energies(banked, evidence) if evidence and options.keep_plain else {}
        return stack(table, banked, spare, options.max_templates, partition, energy)

    def _cheapest(self, table: LayerTable, options: SuperWeightsOptions) -> list[Part]:
        banked = tuple(self._banked(table, options))
        return parts_of(_cheapest_partition(banked, options.bins, options.bin_by))

    def _by_bins(self, table: LayerTable, options: SuperWeightsOptions, spare: int) -> list[Part]:
        """Return the bins if they fit, else coarser ones; finer if they leave budget unused."""
        fitting = (s for s in self._bins(table, options, tied=False) if cost(s) <= spare)
        parts = next(fitting, None) or self._cheapest(table, options)
        for partition in finer(self._banked(table, options), options.bins, options.bin_by):
            is_used_up = most(parts, _nested_templates(options)) >= spare
            if is_used_up or cost(split := parts_of(partition)) > spare:
                break
            parts = split
        return parts

    def _by_agreement(
        self, table: LayerTable, options: SuperWeightsOptions, spare: int, evidence: Evidence
    ) -> list[Part]:
        """Return the groups of the gradient search.

        Layers start alone and merge by average linkage, inside their bin first, then inside
        their kernel class. Of all partitions on the way, those that fit the budget and can use it
        are admissible; the one where all layers that agree more than the threshold have merged is
        taken, or the nearest admissible one.
        """
        banked = self._banked(table, options)
        bins = bins_of(banked, options.bins, options.bin_by)
        taken: list[Part] | None = None
        part_of = functools.cache(functools.partial(Part, tied=False))
        for partition, agreement in merges(banked, bins, evidence):
            parts = [part_of(layers) for layers in partition]
            if cost(parts) > spare:
                continue
            if taken is not None and most(parts, _nested_templates(options)) < spare:
                break
            taken = parts
            if agreement <= options.threshold:
                break
        return self._by_bins(table, options, spare) if taken is None else taken


def _nested_templates(options: SuperWeightsOptions) -> int:
    return options.max_templates or NESTED_TEMPLATES


@functools.lru_cache(maxsize=64)
def _cheapest_partition(layers: Layers, bins: int, by: BinBy) -> tuple[Layers, ...]:
    """Return the parts that cost least with one template each; dear to find, often asked for."""
    partitions = (parts_of(partition) for partition in coarser(layers, bins, by))
    return tuple(part.layers for part in trimmed(min(partitions, key=cost, default=[])))


METHOD = SuperWeights()
