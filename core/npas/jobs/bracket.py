"""Who races whom, and for how long: the part of a race that needs no tensors."""

import math
from dataclasses import dataclass
from pathlib import Path

from npas import methods
from npas.errors import InfeasibleBudgetError
from npas.methods import Contest
from npas.planning.planner import plan as make_plan
from npas.plans import Plan
from npas.spec import JobSpec, MethodSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One short training of one candidate.

    Attributes:
        candidate: its index.
        epochs: of the training.
        steps: optimiser steps.
        nll: of the held-out images, nats; None if the training diverged.
        score: of the held-out images, accuracy or F1, 0 to 1; None if the training diverged.
        seconds: that it took.
    """

    candidate: int
    epochs: int
    steps: int
    nll: float | None
    score: float | None
    seconds: float


def contest_of(spec: JobSpec) -> Contest | None:
    """Return what a job has raced, None where its method is given."""
    method = methods.find(spec.method.name)
    return method.contest(methods.checked_options(method, spec.method))


def rungs(candidates: int, epochs: int, rules: Contest) -> list[tuple[int, int]]:
    """Return (how many candidates, for how many epochs) of each round.

    The last round is `share` of all epochs long, those before it each shorter by `growth`, as many
    as it takes until one is left. Rounds of the same length, 1 epoch at least, are one: a second
    would say the same.

    Args:
        candidates: at least 1; a lone one needs no race.
        epochs: of the training that follows the race.
        rules: of the race.
    """
    count, left = 0, candidates
    while left > 1:
        count, left = count + 1, math.ceil(left / rules.eta)
    whole = rules.share * epochs
    lengths = {max(1, round(whole / rules.growth**back)) for back in range(count)}
    found, left = [], candidates
    for length in sorted(lengths):
        found.append((left, length))
        left = math.ceil(left / rules.eta)
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A method that may win."""

    method: MethodSpec
    plan: Plan


def entered(
    spec: JobSpec, contest: Contest, data_folder: Path | None
) -> tuple[list[Candidate], dict[str, int]]:
    """Return the methods that fit the budget, and the minimum of each that does not, by name.

    A method whose plan is another's already is left out.
    """
    found: list[Candidate] = []
    seen: set[str] = set()
    infeasible: dict[str, int] = {}
    for method in contest.methods:
        request = spec.model_copy(update={"method": method})
        try:
            plan = make_plan(request, data_folder=data_folder)
        except InfeasibleBudgetError as error:
            infeasible[method.name] = error.minimum
            continue
        asked = {"version": 1, "method": "", "options": {}, "minimum": 0}
        content = plan.model_copy(update=asked).to_json()
        if content not in seen:
            seen.add(content)
            found.append(Candidate(method=method, plan=plan))
    return found, infeasible


def called(method: MethodSpec) -> str:
    """Return a method and its options in words."""
    options = ", ".join(f"{key} {value}" for key, value in sorted(method.options.items()))
    return f"{method.name} ({options})" if options else method.name
