"""Who races whom, for how long, and who is ahead: the part of a race that needs no tensors.

Source: successive halving, Jamieson & Talwalkar, "Non-stochastic Best Arm Identification and
Hyperparameter Optimization", AISTATS 2016. All candidates train briefly, the better half goes on
to a longer training, until one is left. Differences: every training starts anew with a whole
schedule of its own length, since a network in the middle of a long schedule says little about its
end, and lengths grow faster than the field shrinks, for the same reason; candidates are compared
by the negative log likelihood of held-out training images, which tells them apart on fewer images
than accuracy does. The test images are never looked at. Where sizes are raced, trainings are as
much shorter as it takes for the multiply-adds of the race to stay within its share.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from npas.arch.costs import running_cost
from npas.delivery.race_report import RaceReport, TrialReport
from npas.jobs.candidates import Candidate, called, entered
from npas.methods import Contest
from npas.planning.problem import PlanningProblem


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


def affordable(macs: Sequence[int], epochs: int, rules: Contest) -> list[tuple[int, int]]:
    """Return the rounds of `rungs`, with trainings so short that larger networks cost no more.

    Whoever stays in the race, all of it takes at most `share` of the multiply-adds of training
    every candidate for all epochs; but for trainings of fewer than 1 / `share` epochs, where one
    epoch of each is more than that.

    Args:
        macs: multiply-adds of each candidate for one image.
        epochs: of the training that follows the race.
        rules: of the race.
    """
    dear = sorted(macs, reverse=True)
    most = rules.share * epochs * sum(dear)
    for longest in range(max(1, round(rules.share * epochs)), 0, -1):
        found = rungs(len(dear), epochs, replace(rules, share=longest / epochs))
        if sum(length * sum(dear[:size]) for size, length in found) <= most:
            break
    return found


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
        macs = [each.cost.macs for each in self.candidates if each.cost is not None]
        if macs:
            self.rungs = affordable(macs, epochs, contest)
        else:
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
        mine = [_mark(each.entry()) for each in self.candidates]
        for told in facts.trials:
            entry = _mark(facts.candidates[told.candidate].model_dump())
            if entry in mine:
                trial = Trial.of(told, candidate=mine.index(entry))
                self.trials[trial.candidate, trial.epochs] = trial

    def why(self) -> str:
        """Return the choice and its reason as a sentence."""
        winner = self.winner
        name, kind = winner.told, "method" if winner.cost is None else "candidate"
        if not self.rungs:
            bounds = "the budget" if winner.cost is None else "the budget and the limits"
            reason = f"{name} is the only {kind} that fits {bounds}"
        elif not self.trials:
            reason = f"{name}: stopped before anything was raced"
        else:
            reason = self._comparison(name, f"{kind}s")
        if winner.cost is not None:
            reason += self._running(winner)
        if winner.plan.groups:
            return reason
        if winner.plan.networks == self._problem.networks:
            return f"do not share: the network as it is fits the budget, and {reason}"
        other = "a narrower network" if winner.cost is None else "another size of the network"
        return f"do not share: {other} is better here, and {reason}"

    def _running(self, winner: Candidate) -> str:
        """Return what the winner's network takes to run, as the end of a sentence."""
        assert winner.cost is not None
        (asked,) = self._problem.networks
        own = running_cost(asked.architecture)
        told = (
            f"; {winner.network} takes {winner.cost.macs:,} multiply-adds and "
            f"{winner.cost.activation_bytes:,} bytes of activations for an image"
        )
        if winner.plan.networks == self._problem.networks:
            return f"{told}, and is the network that was asked for"
        return (
            f"{told}, {winner.cost.macs / own.macs:.2f} and "
            f"{winner.cost.activation_bytes / own.activation_bytes:.2f} times those of "
            f"{asked.architecture.told}, which was asked for"
        )

    def _comparison(self, name: str, kind: str) -> str:
        for size, epochs in reversed(self.rungs):
            ranking = self.ranking(epochs)
            if len(ranking) == size:
                first, second = (self.trials[c, epochs] for c in ranking[:2])
                other = self.candidates[second.candidate].told
                return (
                    f"{name} had the lowest loss on held-out training images in the last round of "
                    f"{size} {kind}, epochs: {epochs}: {shown(first)}, before {other}, "
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
            "candidates": [each.entry() for each in self.candidates],
            "trials": [asdict(trial) for trial in trials],
            "infeasible": self._infeasible,
            "epochs": self.epochs,
            "share_of_training": round(sum(trial.epochs for trial in trials) / self._epochs, 4),
            "seconds": round(sum(trial.seconds for trial in trials), 3),
            **self._sizes(),
        }

    def _sizes(self) -> dict[str, Any]:
        """Return the fields of a report that are of a race of sizes."""
        macs = [each.cost.macs for each in self.candidates if each.cost is not None]
        if not macs:
            return {}
        spent = sum(trial.epochs * macs[trial.candidate] for trial in self.trials.values())
        return {
            "network": self.winner.network,
            "share_of_all": round(spent / (self._epochs * sum(macs)), 4),
        }


def shown(trial: Trial) -> str:
    """Return the loss of a training in words."""
    return "diverged" if trial.nll is None else f"{trial.nll:.3f}"


def _mark(entry: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what tells a candidate from the others, of its entry in a report."""
    return entry["method"], entry["parameters"], entry.get("network")


def _loss(trial: Trial) -> float:
    return math.inf if trial.nll is None else trial.nll
