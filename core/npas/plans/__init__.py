"""The plan: the whole allocation as frozen, versioned JSON, the contract between the parts."""

import json
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, ValidationError, model_validator

from npas.errors import PlanError
from npas.spec import NetworkSpec, Option, Spec

PlanVersion = Literal[1, 2]
"""What the name of a plan's method means: 2 is written where a name of version 1 has got another
meaning since, see `npas.methods.maker_of`; all other plans are the same bytes as ever."""


LayerKey = tuple[str, str]
"""The name of a network, and of a weight in it."""

Side = Annotated[int, Field(ge=1, le=2**40)]
"""One dimension: so small that a deviation can be found for a product of five."""

Shape = Annotated[tuple[Side, ...], Field(min_length=2, max_length=5)]
"""(out, in, *kernel)."""

Positive = Annotated[float | None, Field(gt=0, le=1e6, exclude_if=lambda value: value is None)]
"""A number that is left out of the JSON where nothing is said."""

Place = Annotated[int | None, Field(ge=0, le=2**48, exclude_if=lambda value: value is None)]
"""A number of something, counted from 0, likewise."""

Counts = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...], Field(exclude_if=lambda each: not each)
]
"""Numbers of something; left out of the JSON where there are none."""


def kaiming(shape: tuple[int, ...]) -> float:
    """Return sqrt(2 / fan-in), He et al., 2015; the fan-in is all dimensions but the first."""
    return math.sqrt(2 / math.prod(shape[1:]))


def rounded(deviation: float) -> float:
    """Return six digits of a number: the same on every machine, and short in a plan."""
    return float(f"{deviation:.6g}")


Stage = Literal["search", "train"]
"""What is planned for: to train briefly before measuring, or to train for good."""

CoefficientStart = Literal["orthogonal", "sparse", "identity"]
"""How the coefficients of a bank may start; see `npas.recipes._start`."""


class Bank(Spec):
    """Templates that the layers of one group mix.

    Attributes:
        shape: weight shape this bank completes; the layer's own shape for `mix`.
        size: scalars of one template.
        templates: how many templates.
        rows: how many coefficient vectors; 0 where a lone reader takes a lone template as it is.
    """

    shape: Shape
    size: int = Field(ge=1)
    templates: int = Field(ge=1)
    rows: int = Field(ge=0)

    @property
    def num_coefficients(self) -> int:
        """Trainable coefficients."""
        return self.rows * self.templates

    @property
    def num_template_scalars(self) -> int:
        """Trainable scalars in templates."""
        return self.size * self.templates


class Slot(Spec):
    """One layer of a group, and which coefficient vector of each bank it uses.

    Attributes:
        rows: one entry per bank of the group; None where the layer does not read that bank. A
            number where the bank has no coefficients means that it is read as it is.
        deviation: standard deviation at which the layer's own network starts its weight; None:
            that of Kaiming, sqrt(2 / fan-in).
        place: where the layer stood in the group that this one is a part of, for recipes that
            make something else of the same banks in another place: its first row (stack), its
            first weight (scatter). None: where it stands now.
    """

    network: str
    layer: str
    shape: Shape
    rows: tuple[int | None, ...]
    deviation: Positive = None
    place: Place = None

    @property
    def key(self) -> LayerKey:
        """Network and name: what tells it from all other layers of a plan."""
        return self.network, self.layer

    @property
    def start_deviation(self) -> float:
        """Standard deviation at which the layer's weight starts."""
        return kaiming(self.shape) if self.deviation is None else self.deviation


class Group(Spec):
    """The layers that read one set of banks, and the recipe that makes weights of them.

    Attributes:
        settings: what the recipe wants to know beside; it refuses what it does not know.
        deviation: standard deviation at which templates start; None: each bank's that of Kaiming
            for the shape that it completes. See `npas.planning.scale`.
        row_length: length at which every row of coefficients starts; None: 1. See
            `npas.planning.scale`.
        joined: how many slots the group had each time before others joined it. Their weights are
            composed apart from those of later ones, so that no bit of them changes.
    """

    name: str = Field(pattern=r"^g\d+$")
    recipe: str
    settings: dict[str, Option] = Field(default_factory=dict, max_length=8)
    banks: tuple[Bank, ...] = Field(min_length=1)
    slots: tuple[Slot, ...] = Field(min_length=1)
    deviation: Positive = None
    row_length: Positive = None
    joined: Counts = ()

    @model_validator(mode="after")
    def _joined_in_order(self) -> Self:
        ends = (*self.joined, len(self.slots))
        if list(ends) != sorted(set(ends)):
            raise ValueError(f"joined does not count some of {len(self.slots)} slots, rising")
        return self

    @property
    def num_parameters(self) -> int:
        """Trainable scalars of the group."""
        return sum(bank.num_template_scalars + bank.num_coefficients for bank in self.banks)

    @property
    def num_dense(self) -> int:
        """Trainable scalars of the same layers without sharing."""
        return sum(math.prod(slot.shape) for slot in self.slots)

    def template_deviation(self, bank: Bank) -> float:
        """Return the standard deviation at which the templates of a bank start."""
        return kaiming(bank.shape) if self.deviation is None else self.deviation

    def gain(self, bank: Bank, slot: Slot, *, mixed: bool) -> float:
        """Return the fixed factor of a layer that reads a bank: its deviation over the bank's.

        Args:
            bank: that is read.
            slot: of the layer.
            mixed: by a row of coefficients, whose length is taken out again.
        """
        length = (self.row_length or 1.0) if mixed else 1.0
        return slot.start_deviation / self.template_deviation(bank) / length


class PrivateLayer(Spec):
    """A layer that keeps its own plain weight."""

    network: str
    layer: str
    shape: Shape

    @property
    def key(self) -> LayerKey:
        """Network and name: what tells it from all other layers of a plan."""
        return self.network, self.layer


class Ledger(Spec):
    """The exact count of trainable scalars, each counted once wherever it is used.

    Attributes:
        templates: in banks.
        coefficients: that mix templates.
        private: plain weights of unshared layers, norms, biases, tokens.
        total: all of the above.
        dense: the same networks without sharing.
        budget: the limit that was given.
        unused: budget - total.
    """

    templates: int
    coefficients: int
    private: int
    total: int
    dense: int
    budget: int
    unused: int = Field(ge=0)

    @classmethod
    def of(
        cls, groups: Sequence[Group], *, private: int, dense: int, budget: int | None = None
    ) -> Self:
        """Count what groups hold.

        Args:
            groups: all of a plan.
            private: trainable scalars outside of them.
            dense: of the same networks without sharing.
            budget: None: the total.

        Raises:
            ValidationError: the total is over the budget.
        """
        banks = [bank for group in groups for bank in group.banks]
        templates = sum(bank.num_template_scalars for bank in banks)
        coefficients = sum(bank.num_coefficients for bank in banks)
        total = templates + coefficients + private
        limit = total if budget is None else budget
        return cls(
            templates=templates,
            coefficients=coefficients,
            private=private,
            total=total,
            dense=dense,
            budget=limit,
            unused=limit - total,
        )


class FilePlan(Spec):
    """What is expected of a file that a budget in bytes was given for.

    Attributes:
        bytes: the budget, of the whole file.
        overhead: bytes of it that are no weights: table, plan, norms, biases, coefficients.
        bits: of each weight, after coding; 32 where it is kept as it is.
        step: of a weight that has one reader, in standard deviations; 0 where it is not rounded.
            A template is rounded finer, by the root of the number of its readers.
    """

    bytes: int = Field(ge=1)
    overhead: int = Field(ge=0)
    bits: float = Field(ge=0)
    step: float = Field(ge=0)


class Plan(Spec):
    """Which layers share what, and the count.

    Attributes:
        stage: what it is for; "refined" is a plan to train for good that was changed on the way.
        networks: that are built; the ledger is about them.
        requested_dense: dense size of the networks that were asked for, where the method plans
            smaller ones instead.
        file: of a budget in bytes; None where it counts parameters.

    Example:
        >>> import npas
        >>> plan = npas.plan("wrn-28-10", budget=9_000_000, method="superweights")
        >>> plan.ledger.total <= 9_000_000
        True
        >>> npas.Plan.from_json(plan.to_json()) == plan
        True
    """

    version: PlanVersion = 1
    method: str
    options: dict[str, Any] = Field(default_factory=dict)
    stage: Stage | Literal["refined"] = "train"
    networks: Annotated[tuple[NetworkSpec, ...], Field(min_length=1)]
    groups: tuple[Group, ...]
    private: tuple[PrivateLayer, ...]
    ledger: Ledger
    minimum: int
    requested_dense: int | None = None
    file: FilePlan | None = Field(None, exclude_if=lambda value: value is None)

    @property
    def dense(self) -> int:
        """Trainable scalars of the networks that were asked for, without sharing."""
        return self.ledger.dense if self.requested_dense is None else self.requested_dense

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        for names in ([net.name for net in self.networks], [g.name for g in self.groups]):
            if len(set(names)) < len(names):
                raise ValueError("two networks or two groups have the same name")
        return self

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        templates = sum(b.num_template_scalars for g in self.groups for b in g.banks)
        coefficients = sum(b.num_coefficients for g in self.groups for b in g.banks)
        ledger = self.ledger
        if (templates, coefficients) != (ledger.templates, ledger.coefficients):
            raise ValueError("the ledger does not add up with the banks")
        if templates + coefficients + ledger.private != ledger.total:
            raise ValueError("the ledger's total is not the sum of its parts")
        if ledger.total + ledger.unused != ledger.budget:
            raise ValueError("the ledger's total is over its budget")
        return self

    def refined(self, groups: tuple[Group, ...], *, budget: int | None = None) -> "Plan":
        """Return the plan with other coefficients in its groups, and all else as it is.

        Args:
            groups: cover the same layers with the same templates.
            budget: None: that of this plan.

        Raises:
            PlanError: the coefficients do not fit the budget.
        """
        limit = self.ledger.budget if budget is None else budget
        count = sum(bank.num_coefficients for group in groups for bank in group.banks)
        total = self.ledger.total - self.ledger.coefficients + count
        if total > limit:
            raise PlanError(f"{total:,} parameters are more than the budget of {limit:,}")
        counts = {"coefficients": count, "total": total, "budget": limit, "unused": limit - total}
        ledger = self.ledger.model_copy(update=counts)
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return Plan(**fields | {"stage": "refined", "groups": groups, "ledger": ledger})

    def to_json(self) -> str:
        """Return the plan as canonical JSON: same plan, same bytes."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """Read a plan.

        Raises:
            PlanError: not JSON, another version, or a plan that does not add up.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = "/".join(str(part) for part in first["loc"]) or "the whole"
            versions = " or ".join(map(str, get_args(PlanVersion)))
            raise PlanError(
                f"not a plan of version {versions}: {where}: {first['msg']}"
            ) from error


def check_plan(plan: object, *, argument: str = "plan") -> None:
    """Check that this is a plan.

    Args:
        plan: what was given.
        argument: the name that it was given under.

    Raises:
        PlanError: it is anything else; the message says how to come by one.
    """
    if isinstance(plan, Plan):
        return
    advice = "npas.plan(...) makes one, npas.Plan.from_json(text) reads one"
    if isinstance(getattr(plan, "plan", None), Plan):
        advice = "give its .plan"
    raise PlanError(f"{argument} is a {type(plan).__name__}, not a plan; {advice}")
