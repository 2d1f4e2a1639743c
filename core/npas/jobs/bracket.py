"""Who races whom, for how long, and who is ahead: the part of a race that needs no tensors.

Source: successive halving, Jamieson & Talwalkar, "Non-stochastic Best Arm Identification and
Hyperparameter Optimization", AISTATS 2016. All candidates train briefly, the better half goes on
to a longer training, until one is left. Differences: every training starts anew with a whole
schedule of its own length, since a network in the middle of a long schedule says little about its
end, and lengths grow faster than the field shrinks, for the same reason; candidates are compared
by the negative log likelihood of held-out training images, which tells them apart on fewer images
than accuracy does. The test images are never looked at.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from npas.delivery.report import RaceReport, TrialReport
from npas.errors import InfeasibleBudgetError
from npas.methods import Contest
from npas.planning.planner import solve
from npas.planning.problem import PlanningProblem
from npas.plans import Plan
from npas.spec import MethodSpec


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

    @classmethod
    def of(cls, facts: TrialReport, *, candidate: int) -> Self:
        """Return a trial from its report; what a later release added to that is left out."""
        told = facts.model_dump() | {"candidate": candidate}
        return cls(**{field.name: told[field.name] for field in fields(cls)})


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


def entered(problem: PlanningProblem, contest: Contest) -> tuple[list[Candidate], dict[str, int]]:
    """Return the methods that fit the budget, and the minimum of each that does not, by name.

    A method whose plan is another's already is left out.
    """
    found: list[Candidate] = []
    seen: set[str] = set()
    infeasible: dict[str, int] = {}
    for method in contest.methods:
        try:
            plan = solve(problem.under(method))
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


class Bracket:
    """The candidates of one race and what is known of them.

    Attributes:
        candidates: that fit the budget.
        rungs: candidates and epochs of each round.
        trials: the trainings that are done, by candidate and epochs.
    """

    def __init__(self, problem: PlanningProblem, contest: Contest, *, epochs: int) -> None:
        """Enter the candidates.

        Args:
            problem: what each of them plans.
            contest: of the job's method.
            epochs: of the training that follows the race.
        """
        self._problem, self._epochs = problem, epochs
        self.candidates, self._infeasible = entered(problem, contest)
        self.rungs = rungs(len(self.candidates), epochs, contest)
        self.trials: dict[tuple[int, int], Trial] = {}

    @property
    def epochs(self) -> int:
        """Epochs of all trainings of the race."""
        return sum(size * epochs for size, epochs in self.rungs)

    @property
    def later_epochs(self) -> int:
        """The most epochs of search and training that may follow the race."""
        problems = (self._problem.under(each.method) for each in self.candidates)
        searches = [
            each.method.search_epochs(each.options, epochs=self._epochs) for each in problems
        ]
        return self._epochs + max([0, *searches])

    @property
    def steps(self) -> int:
        """Optimiser steps of the trainings that are done."""
        return sum(trial.steps for trial in self.trials.values())

    @property
    def winner(self) -> Candidate:
        """The best of the longest round that is complete; before one, the first candidate."""
        for size, epochs in reversed(self.rungs):
            ranking = self.ranking(epochs)
            if len(ranking) == size:
                return self.candidates[ranking[0]]
        return self.candidates[0]

    def ranking(self, epochs: int) -> list[int]:
        """Return the candidates of a round, the best first; equal ones in their order."""
        round_ = {c: trial for (c, length), trial in self.trials.items() if length == epochs}
        return sorted(round_, key=lambda c: (_loss(round_[c]), c))

    def restore(self, facts: RaceReport) -> None:
        """Take over the trainings that are done.

        Candidates are known by what they are, not by their places: a race that another release
        began may have had others, or others by the same names.

        Args:
            facts: of this race, or of its beginning.
        """
        mine = [_entry(each) for each in self.candidates]
        for told in facts.trials:
            entry = facts.candidates[told.candidate].model_dump()
            if entry in mine:
                trial = Trial.of(told, candidate=mine.index(entry))
                self.trials[trial.candidate, trial.epochs] = trial

    def why(self) -> str:
        """Return the choice and its reason as a sentence."""
        winner = self.winner
        name = called(winner.method)
        if not self.rungs:
            reason = f"{name} is the only method that fits the budget"
        elif not self.trials:
            reason = f"{name}: stopped before anything was raced"
        else:
            reason = self._comparison(name)
        if winner.plan.groups:
            return reason
        if winner.plan.networks == self._problem.networks:
            return f"do not share: the network as it is fits the budget, and {reason}"
        return f"do not share: a narrower network is better here, and {reason}"

    def _comparison(self, name: str) -> str:
        for size, epochs in reversed(self.rungs):
            ranking = self.ranking(epochs)
            if len(ranking) == size:
                first, second = (self.trials[c, epochs] for c in ranking[:2])
                other = called(self.candidates[second.candidate].method)
                return (
                    f"{name} had the lowest loss on held-out training images in the last round of "
                    f"{size} methods, epochs: {epochs}: {shown(first)}, before {other}, "
                    f"{shown(second)}"
                )
        return f"{name} is taken, as no round of the race was completed"

    def report(self, request: str) -> dict[str, Any]:
        """Return the race as plain JSON: candidates, trainings, cost, winner and reason.

        Args:
            request: what tells the job from others.
        """
        trials = list(self.trials.values())
        return {
            "request": request,
            "method": called(self.winner.method),
            "why": self.why(),
            "candidates": [_entry(each) for each in self.candidates],
            "trials": [asdict(trial) for trial in trials],
            "infeasible": self._infeasible,
            "epochs": self.epochs,
            "share_of_training": round(sum(trial.epochs for trial in trials) / self._epochs, 4),
            "seconds": round(sum(trial.seconds for trial in trials), 3),
        }


def shown(trial: Trial) -> str:
    """Return the loss of a training in words."""
    return "diverged" if trial.nll is None else f"{trial.nll:.3f}"


def _entry(candidate: Candidate) -> Mapping[str, Any]:
    """Return the fields of a report that tell a candidate from the others."""
    return {"method": called(candidate.method), "parameters": candidate.plan.ledger.total}


def _loss(trial: Trial) -> float:
    return math.inf if trial.nll is None else trial.nll
