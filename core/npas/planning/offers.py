"""offered(): which sizes of a network a job would choose among, and what each takes to run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npas.arch.costs import running_cost
from npas.planning import inputs, planner
from npas.planning.inputs import Budget, Limits, Planned
from npas.planning.problem import PlanningProblem
from npas.plans import Plan
from npas.spec import ArchitectureSpec, DatasetSpec, MethodSpec, PlanRequest, SearchSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """One size that may be chosen.

    Attributes:
        architecture: of the network that is planned, all sizes said.
        plan: by the method that was asked for.
        macs: multiply-adds for one example.
        activation_bytes: most bytes of activations at once for one example, in float32.
    """

    architecture: ArchitectureSpec
    plan: Plan
    macs: int
    activation_bytes: int

    @property
    def network(self) -> str:
        """The network in words."""
        return self.architecture.told

    @property
    def parameters(self) -> int:
        """Trainable scalars of the plan."""
        return self.plan.ledger.total

    @property
    def dense_parameters(self) -> int:
        """Trainable scalars of this size without sharing."""
        return self.plan.ledger.dense

    def as_json(self) -> dict[str, Any]:
        """Return all but the plan, as plain JSON."""
        return {
            "network": self.network,
            "architecture": self.architecture.model_dump(mode="json", exclude_none=True),
            "parameters": self.parameters,
            "dense_parameters": self.dense_parameters,
            "macs": self.macs,
            "activation_bytes": self.activation_bytes,
        }


def offered(
    architecture: Planned,
    *,
    budget: Budget | None = None,
    method: str | MethodSpec = "block_mix",
    dataset: str | DatasetSpec | None = None,
    data_folder: Path | str | None = None,
    unshared: Sequence[str] = (),
    share_embeddings: bool = False,
    limits: Limits | None = None,
    **options: Any,
) -> tuple[Offer, ...]:
    """List the sizes of a network that a search among them offers, at one budget.

    First comes the network that was asked for, if the budget and the limits hold it; at most 8,
    spread over multiply-adds. Which one is the best only a race on the data tells.

    Args:
        architecture: a network; or a whole request, which brings all that a request has along.
            One that searches no sizes offers its own network alone.
        budget: as for `npas.plan`; that of the network asked for holds for all sizes.
        method: as for `npas.plan`.
        dataset: as for `npas.plan`.
        data_folder: as for `npas.plan`.
        unshared: as for `npas.plan`.
        share_embeddings: as for `npas.plan`.
        limits: {"macs": ..., "activation_bytes": ...} of one example at most; left out: twice the
            multiply-adds of the network asked for.
        **options: options of the method.

    Raises:
        NpasError: as for `npas.plan`.
        InvalidSpecError: no size is within the limits; the message says what the least is.
        InfeasibleBudgetError: the budget holds no size; the least that one needs is in the error.

    Example:
        >>> import npas
        >>> for offer in npas.offered("wrn-16-1", budget={"fraction": 0.5}):
        ...     print(offer.network, offer.parameters, offer.macs)  # doctest: +SKIP
    """
    is_request = isinstance(architecture, PlanRequest)
    problem = inputs.problem(
        architecture,
        budget=budget,
        method=method,
        dataset=dataset,
        data_folder=data_folder,
        unshared=unshared,
        share_embeddings=share_embeddings,
        search=None if is_request else SearchSpec(scale=True),
        limits=limits,
        options=options,
    )
    return tuple(map(offer_of, planner.fitting_sizes(problem)))


def offer_of(problem: PlanningProblem) -> Offer:
    """Return what a problem offers: its plan, and what the network that is planned takes to run.

    Args:
        problem: of one size.
    """
    plan = planner.solve(problem)
    architecture = plan.networks[0].architecture
    cost = running_cost(architecture)
    return Offer(
        architecture=architecture,
        plan=plan,
        macs=cost.macs,
        activation_bytes=cost.activation_bytes,
    )


def plans_of(problem: PlanningProblem) -> tuple[Plan, ...]:
    """Return the plan of each size that a problem offers, by the method that was asked for."""
    return tuple(map(planner.solve, planner.fitting_sizes(problem)))
