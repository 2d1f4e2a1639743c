"""SuperWeights: layers composed of shared blocks; gradients tell which layers share.

Source: Teterwak et al., "Learning to Compose SuperWeights for Neural Parameter Allocation
Search", WACV 2024: geometry of section 2.1 (`npas.plans.blocks`), gradient similarity of section
2.2.
Differences from the released code, which exceeds budgets silently and may never end:
* bins that do not fit the budget are made fewer, down to one per kernel class;
* where even those do not fit, layers are made of equal blocks smaller than layers (recipe
  `stack`), in one order for all, of which a layer has as many as it needs: the paper's templates
  and blocks, without its nesting. Of these any number of groups would fit, so that layers merge
  while they agree more than the threshold, and on until there are no more groups than bins;
* clustering is average linkage, deterministic, and always ends; it merges while layers agree
  more than the threshold, and on until the budget holds. That is the paper's threshold that
  falls until the budget holds, without its steps: the groups are those of the highest threshold,
  at most the given one, whose groups fit;
* bins are all searched, also where rounding makes more of them than were asked for, and the
  second routine of allocation leaves no part of a bank unread;
* the count covers blocks as they are stored, coefficients, private layers and norms;
* a group whose sharing saves nothing keeps plain weights;
* coefficients that are shared at first leave room in the budget for those that come when layers
  part, and a layer's gradient for them is its own, so that layers of one network can part too;
* what is left after the templates frees single layers, below the dense size; the code gives it to
  SuperWeights that already have a template for every reader, which makes no more networks
  possible.

In plans of version 1 this name may stand for another method, see `formerly`.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, field_validator

from npas.arch.layers import LayerTable, Role
from npas.errors import InvalidSpecError
from npas.methods import EVIDENCE_BATCHES, Allocation, Method, find
from npas.methods._bins import BinBy, bins_of
from npas.methods._nests import NESTED_TEMPLATES, NESTED_THRESHOLD, Distributing, Nests, nested
from npas.methods._parts import Layers, cost
from npas.methods._stacks import agreeing_groups, smallest_stack, stack
from npas.methods._tying import Coefficients, Tying, parted
from npas.plans import Group, Stage
from npas.plans.evidence import CoefficientAgreement, Evidence
from npas.spec import MethodSpec, Spec, pointer

HYBRID = "block_mix"
"""What plans of version 1 with equal blocks were made by, under this name."""


class SuperWeightsOptions(Spec):
    """Options of `superweights`.

    `threshold` and the 8 templates of nested blocks are the released code's defaults,
    `unshare_threshold` is its README's; the others are ours.
    """

    bins: int = Field(4, ge=1, le=1000, description="bins before the search, or layers in a bin")
    bin_by: BinBy = Field(
        "depth", description="what bins counts: bins by depth, or layers of one bin"
    )
    blocks: Literal["auto", "nest", "stack"] = Field(
        "auto",
        description="nest: blocks that nest, as large as layers; stack: equal smaller blocks, for "
        "any budget; auto: nest where that fits, else stack",
    )
    allocation: Distributing = Field(
        "templates",
        description="where blocks nest: templates one by one to the groups with readers for them; "
        "or in proportion",
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
        NESTED_THRESHOLD, ge=-1, le=1, description="layers that agree more are merged"
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
        "group; or joined, other networks start with the first network's; in a stack only layers "
        "of as many blocks do",
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
    """Nested blocks, or equal ones where those do not fit; groups by gradient agreement."""

    title = "SuperWeights: nested blocks, groups by gradient agreement (WACV 2024)"
    Options = SuperWeightsOptions
    plan_version = 2
    variants = ()
    only_with = dict.fromkeys(("search_epochs", "evidence_batches"), ("search", (True,)))

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

    def formerly(self, spec: MethodSpec, groups: Sequence[Group]) -> MethodSpec:
        """Return the method that made a plan of version 1: equal blocks have their own name now.

        An option that no longer is did nothing where blocks nest.
        """
        is_stacked = any(group.recipe == "stack" for group in groups)
        name = HYBRID if is_stacked else spec.name
        method = find(name)
        known = {k: v for k, v in spec.options.items() if k in method.Options.model_fields}
        renamed = MethodSpec(name=name, **known)
        return renamed if name == spec.name else method.formerly(renamed, groups)

    def idle(self, options: SuperWeightsOptions, groups: Sequence[Group]) -> Mapping[str, str]:
        """Return the options that equal blocks have no use for, and why."""
        del options
        if not any(group.recipe == "stack" for group in groups):
            return {}
        return {"allocation": "the templates of a stack follow from its blocks"}

    def _nests(self, table: LayerTable, options: SuperWeightsOptions) -> Nests:
        return Nests(
            layers=table.split(options.private)[0],
            bins=options.bins,
            by=options.bin_by,
            max_templates=options.max_templates or NESTED_TEMPLATES,
            threshold=options.threshold,
            distributing=options.allocation,
        )

    def smallest(self, table: LayerTable, options: SuperWeightsOptions) -> Allocation:
        """Return the cheapest of all bins, one template each; or of equal blocks."""
        parts = self._nests(table, options).cheapest()
        if options.blocks != "nest":
            banked, private = table.split(options.private)
            stacked = smallest_stack(table, banked, shuffled=False)
            nesting = cost(parts) + sum(layer.size for layer in private)
            if options.blocks == "stack" or stacked.num_parameters < nesting:
                return stacked
        return nested(table, parts)

    def allocate(
        self,
        table: LayerTable,
        budget: int,
        options: SuperWeightsOptions,
        *,
        evidence: Evidence | None,
        stage: Stage,
    ) -> Allocation:
        """Return groups by evidence where there is any, else by bins, and distribute templates."""
        banked, private = table.split(options.private)
        spare = budget - table.others - sum(layer.size for layer in private)
        nests = self._nests(table, options)
        if budget < table.dense and _is_stacked(nests, options, spare):
            known = None if stage == "search" else evidence
            if stacked := self._stacked(table, banked, options, spare, known):
                return stacked
        if stage == "search":
            return nested(table, nests.tied(spare))
        is_dense = budget >= table.dense
        parts = nests.alone(spare) if is_dense else nests.below_dense(spare, evidence)
        return nested(table, parts, options.coefficients, evidence)

    def _stacked(
        self,
        table: LayerTable,
        banked: Layers,
        options: SuperWeightsOptions,
        spare: int,
        evidence: Evidence | None,
    ) -> Allocation | None:
        """Return equal blocks: one bank per kernel class to search with, then the groups."""
        bins = bins_of(banked, options.bins, options.bin_by)
        partition = None if options.search else bins
        if evidence is not None:
            partition = agreeing_groups(banked, evidence, len(bins), options.threshold)
        return stack(
            table,
            banked,
            spare,
            options.max_templates,
            partition,
            tying=Tying(how=options.coefficients, evidence=evidence),
        )


def _is_stacked(nests: Nests, options: SuperWeightsOptions, spare: int) -> bool:
    if options.blocks != "auto":
        return options.blocks == "stack"
    return cost(nests.cheapest()) > spare


METHOD = SuperWeights()
