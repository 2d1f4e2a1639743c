"""Who races: methods, each on the networks as they are, or on every size that is offered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from npas import methods
from npas.arch.costs import RunningCost, running_cost
from npas.errors import InfeasibleBudgetError, InvalidSpecError
from npas.methods import Contest, Method
from npas.planning.planner import offered, solve
from npas.planning.problem import PlanningProblem
from npas.plans import Plan
from npas.spec import MethodSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A method that may win, and where sizes are raced a network.

    Attributes:
        method: that made the plan.
        plan: of its networks.
        cost: what its network takes to run; None where all candidates share the same networks.
    """

    method: MethodSpec
    plan: Plan
    cost: RunningCost | None = None

    @property
    def network(self) -> str:
        """The network in words."""
        return self.plan.networks[0].architecture.told

    @property
    def told(self) -> str:
        """What tells it from the others, in words."""
        name = called(self.method)
        return name if self.cost is None else f"{name} on {self.network}"

    def entry(self) -> Mapping[str, Any]:
        """Return the fields of a report that are about it."""
        entry = {"method": called(self.method), "parameters": self.plan.ledger.total}
        if self.cost is None:
            return entry
        return {
            **entry,
            "network": self.network,
            "dense_parameters": self.plan.ledger.dense,
            "macs": self.cost.macs,
            "activation_bytes": self.cost.activation_bytes,
        }


def called(method: MethodSpec) -> str:
    """Return a method and its options in words."""
    options = ", ".join(f"{key} {value}" for key, value in sorted(method.options.items()))
    return f"{method.name} ({options})" if options else method.name


def entered(problem: PlanningProblem, contest: Contest) -> tuple[list[Candidate], dict[str, int]]:
    """Return the candidates that fit the budget, and the minimum of each method that does not.

    All methods on the network that was asked for come first, then those on each other size. Left
    out is a plan that is another's already; and, since a method that sets the width itself does so
    from any width, what such a method plans for a second network of the same depth.

    Returns:
        candidates; the minimum by name, of several sizes the lowest.

    Raises:
        InfeasibleBudgetError: sizes are offered, and the budget holds none of them.
        InvalidSpecError: no size is within the limits.
    """
    found: list[Candidate] = []
    seen: set[object] = set()
    infeasible: dict[str, int] = {}
    is_sized = problem.limits is not None
    for size in offered(problem):
        for method in contest.methods:
            try:
                plan = solve(size.under(method))
            except InfeasibleBudgetError as error:
                known = infeasible.get(method.name) if is_sized else None
                infeasible[method.name] = min(known or error.minimum, error.minimum)
                continue
            except InvalidSpecError:  # such as an option that names layers of another size
                if size.size is None:
                    raise
                continue
            marks = _marks(plan, is_sized=is_sized)
            if not marks & seen:
                seen |= marks
                found.append(_candidate(method, plan, is_sized=is_sized))
    raced = {each.method.name for each in found} if is_sized else set()
    return found, {name: least for name, least in infeasible.items() if name not in raced}


def _candidate(method: MethodSpec, plan: Plan, *, is_sized: bool) -> Candidate:
    cost = running_cost(plan.networks[0].architecture) if is_sized else None
    return Candidate(method=method, plan=plan, cost=cost)


def _marks(plan: Plan, *, is_sized: bool) -> set[object]:
    """Return what no other candidate may have in common with a plan."""
    asked = {"version": 1, "method": "", "options": {}, "minimum": 0}
    marks: set[object] = {plan.model_copy(update=asked).to_json()}
    if is_sized and type(methods.find(plan.method)).networks_for is not Method.networks_for:
        marks.add((plan.method, tuple(layer.layer for layer in plan.private)))
    return marks
