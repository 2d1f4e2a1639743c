"""Who races: methods, each on the networks as they are, or on every size that is offered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from npas import methods
from npas.arch.costs import RunningCost, running_cost
from npas.errors import InfeasibleBudgetError, InvalidSpecError
from npas.methods import Contest
from npas.planning.planner import fitting_sizes, solve
from npas.planning.prior import Rival
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
    def rival(self) -> Rival:
        """What matters for what is known of it before the race."""
        return Rival(method=self.method, macs=None if self.cost is None else self.cost.macs)

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

    All methods on the network that was asked for come first, then those on each other size. A plan
    that is another's already is left out.

    Returns:
        candidates; the minimum by name, of several sizes the lowest.

    Raises:
        InfeasibleBudgetError: sizes are offered, and the budget holds none of them.
        InvalidSpecError: no size is within the limits.
    """
    tried: list[Candidate] = []
    infeasible: dict[str, int] = {}
    is_sized = problem.limits is not None
    for size in fitting_sizes(problem):
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
            cost = running_cost(plan.networks[0].architecture) if is_sized else None
            tried.append(Candidate(method=method, plan=plan, cost=cost))
    found = _different(_widest(tried) if is_sized else tried)
    raced = {each.method.name for each in found} if is_sized else set()
    return found, {name: least for name, least in infeasible.items() if name not in raced}


def _widest(tried: Sequence[Candidate]) -> list[Candidate]:
    """Return candidates, of a method that sets the width itself one for each depth.

    It comes to the same width from every network that is wider; from one that is narrower than the
    budget allows, it comes to less.
    """
    places: dict[object, int] = {}
    for place, each in enumerate(tried):
        is_own = methods.sets_networks(each.method.name)
        layers = tuple(layer.layer for layer in each.plan.private)
        key = (called(each.method), layers) if is_own else place
        known = places.setdefault(key, place)
        if each.plan.ledger.total > tried[known].plan.ledger.total:
            places[key] = place
    return [tried[place] for place in sorted(places.values())]


def _different(tried: Sequence[Candidate]) -> list[Candidate]:
    """Return candidates, each plan once, whatever its method is called."""
    found: dict[str, Candidate] = {}
    for each in tried:
        asked = {"version": 1, "method": "", "options": {}, "minimum": 0}
        found.setdefault(each.plan.model_copy(update=asked).to_json(), each)
    return list(found.values())
