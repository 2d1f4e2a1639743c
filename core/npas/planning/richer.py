"""What a method would make of more budget."""

from dataclasses import replace

from npas.errors import NpasError
from npas.planning.planner import solve
from npas.planning.problem import PlanningProblem
from npas.plans import Plan
from npas.plans.evidence import Evidence

MORE = 0.1
"""Of the budget, how much more."""


def grown(budget: int) -> int:
    """Return a budget with so much more, in whole parameters or bytes."""
    return budget + int(budget * MORE)


def richer(problem: PlanningProblem, evidence: Evidence | None) -> Plan | None:
    """Return the plan of the same method, networks and evidence with more budget.

    Args:
        problem: with its budget.
        evidence: that the present plan was made of; None: it was made of none.

    Returns:
        the plan; None where the problem has no budget, or the method makes no plan.
    """
    budget, file_bytes = problem.budget, problem.file_bytes
    if budget is None and file_bytes is None:
        return None
    more = replace(
        problem,
        budget=None if budget is None else grown(budget),
        file_bytes=None if file_bytes is None else grown(file_bytes),
    )
    try:
        return solve(more, evidence=evidence)
    except NpasError:  # such as evidence of other networks
        return None
