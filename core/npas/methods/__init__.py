"""Sharing methods: which layers share what. One file each, the file name is the method's name.

A method is pure Python over a layer table: no tensors, no randomness, the same input gives the
same answer. It offers METHOD, an object with the promises of `Method`.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, cast

from pydantic import ValidationError

from npas import registry
from npas.arch.layers import Layer, LayerTable
from npas.errors import InvalidSpecError
from npas.plans import Group, Plan, PlanVersion, Stage
from npas.plans.evidence import CoefficientAgreement, Evidence, EvidenceKind
from npas.spec import AUTO, MethodSpec, NetworkSpec, Spec, validation

EVIDENCE_BATCHES = 10
"""Mini-batches whose gradients are compared; the released code's single one is noisy."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Allocation:
    """What a method decides: groups of sharing layers, and the layers that stay private."""

    groups: tuple[Group, ...]
    private: tuple[Layer, ...]

    @property
    def num_parameters(self) -> int:
        """Trainable scalars of all layers, without norms and biases."""
        shared = sum(group.num_parameters for group in self.groups)
        return shared + sum(layer.size for layer in self.private)


def ungrouped(layers: Sequence[Layer], groups: Sequence[Group]) -> tuple[Layer, ...]:
    """Return the layers that no group makes, in their order: an allocation's private ones.

    Args:
        layers: of a table.
        groups: of the allocation.
    """
    shared = {slot.key for group in groups for slot in group.slots}
    return tuple(layer for layer in layers if layer.key not in shared)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Contest:
    """What a method that chooses among others has raced, see `npas.jobs.race`.

    Attributes:
        methods: the candidates.
        eta: of so many candidates one goes on to the next round.
        growth: so many times as long as before are the trainings of the next round.
        share: length of the last training, as part of all epochs.
        held_out: least part of the training images that candidates are compared on.
    """

    methods: tuple[MethodSpec, ...]
    eta: int
    growth: int
    share: float
    held_out: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Recurrence:
    """How a training pulls the layers of a group to be alike, see `npas.folding.penalty`.

    Attributes:
        strength: what the sum of similarities is multiplied by before it is taken off the loss;
            > 0.
        form: of the similarities that are summed.
    """

    strength: float
    form: Literal["squared", "absolute"]


class Method(Protocol):
    """What a file of `npas/methods` offers as METHOD, an object of a class that derives from this.

    A method has a title, Options, `smallest` and `allocate`; the rest has defaults, for a method
    that measures nothing.

    Promises: deterministic; every layer of the table is in exactly one group or private; no scalar
    of a bank is unread; `smallest` is the smallest allocation it can make, and `allocate` stays
    within every budget that `smallest` fits.
    """

    title: str
    Options: type[Spec]
    evidence_kind: EvidenceKind = "gradient_agreement"
    """What a search stage measures."""
    variants: tuple[dict[str, Any], ...] = ({},)
    """Options that are worth a try where methods are raced; none: only where it is asked for."""
    only_with: ClassVar[Mapping[str, tuple[str, tuple[Any, ...]]]] = {}
    """Options that count only where another option has one of some values."""
    plan_version: PlanVersion = 1
    """Of the plans by this name; `formerly` reads those of the version before."""

    def contest(self, options: Any) -> Contest | None:
        """Return the race on the data that comes before any plan; None without one.

        For a budget that only a candidate holds, the candidate that goes lowest plans in place of
        this method, and the minimum is the candidate's.
        """
        del options
        return None

    def networks_for(
        self, networks: tuple[NetworkSpec, ...], budget: int, options: Any
    ) -> tuple[NetworkSpec, ...]:
        """Return the networks to plan: those that were asked for, or smaller ones.

        Args:
            networks: with resolved architectures.
            budget: trainable scalars of all of them; 0 for the smallest the method can make.
            options: an instance of Options.
        """
        del budget, options
        return networks

    def search_epochs(self, options: Any, *, epochs: int) -> int:
        """Return how long to train for evidence first; 0 for a method that wants none.

        Args:
            options: an instance of Options.
            epochs: of the training that follows.
        """
        del options, epochs
        return 0

    def evidence_batches(self, options: Any) -> int:
        """Return how many mini-batches to measure evidence on, at least 1."""
        del options
        return EVIDENCE_BATCHES

    def counts_uses(self, options: Any) -> bool:
        """Return whether `allocate` looks at the multiply-adds of layers.

        Args:
            options: an instance of Options.
        """
        del options
        return False

    def refine_after(self, options: Any, *, epochs: int) -> int:
        """Return after how many epochs of the training to `refine` the plan; 0: never.

        Args:
            options: an instance of Options.
            epochs: of the whole training.

        Raises:
            InvalidSpecError: the options ask for an epoch that does not come.
        """
        del options, epochs
        return 0

    def refine(
        self, groups: tuple[Group, ...], options: Any, evidence: CoefficientAgreement
    ) -> tuple[Group, ...]:
        """Return the groups with other rows of coefficients, all else as it is.

        A row of the new groups must come from one row of the old; a method that adds rows leaves
        room for them in the budget.

        Args:
            groups: of the plan in force.
            options: an instance of Options.
            evidence: how much layers agree that share coefficients.
        """
        del options, evidence
        return groups

    def recurrence(self, options: Any) -> Recurrence | None:
        """Return how all trainings pull layers to be alike; None: not at all."""
        del options
        return None

    def fold_at(self, options: Any) -> float | None:
        """Return how similar layers must be to become one in a folded network; None: no fold.

        Returns:
            A threshold, > 0 and at most 1, for `npas.fold`; the folded network is delivered
            beside the trained one.
        """
        del options
        return None

    def formerly(self, spec: MethodSpec, groups: Sequence[Group]) -> MethodSpec:
        """Return the method, under today's name, that made a plan of an older version.

        Args:
            spec: name and options of the plan.
            groups: of the plan.
        """
        del groups
        return spec

    def idle(self, options: Any, groups: Sequence[Group]) -> Mapping[str, str]:
        """Return the options that had no say in groups whatever their values, and why.

        Those that `only_with` rules out are not among them.

        Args:
            options: an instance of Options.
            groups: that it allocated.
        """
        del options, groups
        return {}

    def smallest(self, table: LayerTable, options: Any) -> Allocation:
        """Return the allocation with the fewest parameters."""

    def allocate(
        self,
        table: LayerTable,
        budget: int,
        options: Any,
        *,
        evidence: Evidence | None,
        stage: Stage,
    ) -> Allocation:
        """Return the allocation for a budget.

        Args:
            table: all layers of all networks.
            budget: trainable scalars of the job, norms and biases included; at least what
                `smallest` needs.
            options: an instance of Options.
            evidence: what was measured in a search stage; None before one.
            stage: what the allocation is for.
        """


def find(name: str) -> Method:
    """Return the method of that name.

    Raises:
        UnknownNameError: there is none.
    """
    module = registry.load("npas.methods", name, kind="method", field="/method")
    return cast(Method, module.METHOD)


def sets_networks(name: str) -> bool:
    """Return whether a method plans other networks than those that it was given."""
    return type(find(name)).networks_for is not Method.networks_for


def default_contest() -> Contest:
    """Return the race of all methods, by the rules that it has where nothing else is said."""
    auto = find(AUTO)
    contest = auto.contest(auto.Options())
    assert contest is not None
    return contest


def checked_options(method: Method, spec: MethodSpec) -> Spec:
    """Return a method's options, checked.

    Raises:
        InvalidSpecError: an option it does not have, or a value out of range.
    """
    try:
        return method.Options.model_validate(spec.options)
    except ValidationError as error:
        found = validation.first_of(error, spec.options, within="/method")
        where = found.pointer.removeprefix("/method/")
        known = f"options: {', '.join(method.Options.model_fields) or 'none'}"
        if where not in method.Options.model_fields and (owners := _having(where)):
            known += f"; {where!r} is an option of {', '.join(owners)}"
        raise InvalidSpecError(
            f"option {where!r} of method {spec.name}: {found.message} ({known})",
            field=found.pointer,
        ) from error


def _having(option: str) -> list[str]:
    """Return the methods that have an option."""
    names = registry.names("npas.methods")
    return [name for name in names if option in find(name).Options.model_fields]


def written(plan: Plan) -> MethodSpec:
    """Return the method of a plan as its request had it, whatever the name meant then."""
    return MethodSpec.model_validate({**plan.options, "name": plan.method})


def maker_of(plan: Plan) -> MethodSpec:
    """Return the method that made a plan, by the name and options that it has today.

    Raises:
        UnknownNameError: the method is not there.
    """
    spec, method = written(plan), find(plan.method)
    return spec if plan.version == method.plan_version else method.formerly(spec, plan.groups)


def planned_by(plan: Plan) -> tuple[Method, Spec]:
    """Return the method that made a plan, and the options that it had.

    Raises:
        UnknownNameError: the method is not there.
        InvalidSpecError: it does not have these options.
    """
    spec = maker_of(plan)
    method = find(spec.name)
    return method, checked_options(method, spec)


def idle_options(plan: Plan) -> list[str]:
    """Return the options that were asked for and had no say in a plan, in words."""
    method, options = planned_by(plan)
    fields = method.Options.model_fields
    ruled_out = {
        name: f"{other} is {json.dumps(getattr(options, other))}"
        for name, (other, values) in method.only_with.items()
        if getattr(options, other) not in values
    }
    return [
        f"option {name} of {plan.method} does nothing in this plan: {why}"
        for name, why in {**ruled_out, **method.idle(options, plan.groups)}.items()
        if name in options.model_fields_set
        and getattr(options, name) != fields[name].get_default(call_default_factory=True)
    ]


def catalogue() -> list[dict[str, Any]]:
    """Return every method with its title and the JSON schema of its options."""
    return [
        {
            "method": name,
            "title": find(name).title,
            "options": find(name).Options.model_json_schema(),
        }
        for name in registry.names("npas.methods")
    ]
