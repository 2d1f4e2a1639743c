"""Who races whom, for how long, and who is ahead: the part of a race that needs no tensors.

Source: successive halving, Jamieson & Talwalkar, "Non-stochastic Best Arm Identification and
Hyperparameter Optimization", AISTATS 2016. All candidates train briefly, the better half goes on
to a longer training, until one is left. Differences: every training starts anew with a whole
schedule of its own length, since a network in the middle of a long schedule says little about its
end, and lengths grow faster than the field shrinks, for the same reason; candidates are compared
by the negative log likelihood of held-out training images, which tells them apart on fewer images
than accuracy does. The test images are never looked at. One candidate, the first, is the
reference: it runs in every round, and all others are compared with it, image by image; who is
ahead is what `npas.planning.verdict` makes of these leads and of what was known before. Trainings
are as much shorter as it takes for the race to stay within its share.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from npas.delivery.race_report import RaceReport, TrialReport
from npas.jobs.candidates import Candidate, entered
from npas.methods import Contest
from npas.planning.prior import Place, before_racing, known_losses, racing
from npas.planning.problem import PlanningProblem
from npas.planning.verdict import Belief, Measured, chosen, extrapolated


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
        lead: loss of the reference, trained for as many epochs, less its own, nats, mean over the
            held-out images; None of the reference, and where one of the two diverged.
        lead_error: standard error of that mean, from the differences image by image.
    """

    candidate: int
    epochs: int
    steps: int
    nll: float | None
    score: float | None
    seconds: float
    lead: float | None = None
    lead_error: float | None = None

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
    """Return the rounds of `rungs`, with trainings so short that the race keeps to its share.

    Whoever stays in the race, all of it takes at most `share` of the multiply-adds of training
    every candidate for all epochs; but for trainings of fewer than 1 / `share` epochs, where one
    epoch of each is more than that.

    Args:
        macs: multiply-adds of each candidate for one image; all alike where they cost the same.
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
        problem: what each candidate plans.
        whole: epochs of the training that follows the race.
        candidates: that fit the budget; the first is the reference.
        known: of the lead of each other one, before anything is trained.
        infeasible: the minimum of each method that does not fit the budget.
        entrants: the candidates that are trained, the reference first.
        rungs: candidates and epochs of each round.
        trials: the trainings that are done, by candidate and epochs.
        discarded: steps of trainings that were done, and cannot be compared any more.
    """

    def __init__(self, problem: PlanningProblem, contest: Contest, *, epochs: int) -> None:
        """Enter the candidates.

        Args:
            problem: what each of them plans.
            contest: of the job's method.
            epochs: of the training that follows the race.
        """
        self.problem, self.whole = problem, epochs
        self.candidates, self.infeasible = entered(problem, contest)
        rivals = [each.rival for each in self.candidates]
        self.known: dict[int, Belief] = {}
        self.entrants: list[int] = []
        if rivals:
            place = Place.of(problem, budget=self.candidates[0].plan.ledger.budget)
            self.known = dict(enumerate(before_racing(rivals, place), 1))
            self.entrants = racing(rivals, place)
        macs = [rivals[index].macs or 1 for index in self.entrants]
        self.rungs = affordable(macs, epochs, contest)
        self.trials: dict[tuple[int, int], Trial] = {}
        self.discarded = 0

    @property
    def epochs(self) -> int:
        """Epochs of all trainings of the race."""
        return sum(size * epochs for size, epochs in self.rungs)

    @property
    def later_epochs(self) -> int:
        """The most epochs of search and training that may follow the race."""
        problems = (self.problem.under(each.method) for each in self.candidates)
        searches = [
            each.method.search_epochs(each.options, epochs=self.whole) for each in problems
        ]
        return self.whole + max([0, *searches])

    @property
    def steps(self) -> int:
        """Optimiser steps of the trainings that are done."""
        return sum(trial.steps for trial in self.trials.values())

    @property
    def best(self) -> int:
        """The winner's place: the reference, unless another is better by more than the noise.

        Where the reference diverged in its longest training, the lowest loss in the longest
        training is all there is to go by.
        """
        if not self.is_lost(0):
            leads = {c: each for c in self.known if (each := self.believed(c)) is not None}
            return chosen(leads) or 0
        lasts = [last for c in self.entrants if (last := self.longest(c)) is not None]
        trained = [trial for trial in lasts if trial.nll is not None]
        ranked = sorted(trained, key=lambda trial: (-trial.epochs, trial.nll, trial.candidate))
        return ranked[0].candidate if ranked else 0

    @property
    def winner(self) -> Candidate:
        """The best candidate; before anything is trained, the reference."""
        return self.candidates[self.best]

    def believed(self, candidate: int, *, until: int | None = None) -> Belief | None:
        """Return what is believed of a lead; None where it diverged or nothing can be compared.

        Args:
            candidate: not the reference.
            until: longer trainings do not count; None: all do.
        """
        measured = [
            Measured(epochs=trial.epochs, lead=trial.lead, error=trial.lead_error)
            for trial in self.done(candidate, until)
            if trial.lead is not None and trial.lead_error is not None
        ]
        if not measured or self.is_lost(candidate, until):
            return None
        found = extrapolated(measured, whole=self.whole, noise=known_losses().noise)
        return self.known[candidate].and_also(found)

    def ranking(self, epochs: int) -> list[int]:
        """Return the candidates of a round: the reference, then the others, the best first.

        What came after that round does not count. Where nothing could be compared with the
        reference, the lowest loss is the best.
        """
        round_ = {c: trial for (c, length), trial in self.trials.items() if length == epochs}
        believed = {c: self.believed(c, until=epochs) for c in round_ if c}
        if any(believed.values()):
            leads = {c: each.lead for c, each in believed.items() if each is not None}
        else:
            leads = {c: -trial.nll for c, trial in round_.items() if trial.nll is not None}
        return sorted(round_, key=lambda c: (c != 0, -leads.get(c, -math.inf), c))

    def longest(self, candidate: int) -> Trial | None:
        """Return the longest training of a candidate; None before one."""
        done = self.done(candidate)
        return done[-1] if done else None

    def done(self, candidate: int, until: int | None = None) -> list[Trial]:
        """Return the trainings of a candidate up to a length, the shortest first."""
        lengths = sorted(length for c, length in self.trials if c == candidate)
        wanted = (each for each in lengths if until is None or each <= until)
        return [self.trials[candidate, each] for each in wanted]

    def is_lost(self, candidate: int, until: int | None = None) -> bool:
        """Return whether a candidate diverged in its longest training."""
        done = self.done(candidate, until)
        return bool(done) and done[-1].nll is None

    def restore(self, facts: RaceReport) -> None:
        """Take over the trainings that are done.

        Candidates are known by what they are, not by their places: a race that another release
        began may have had others, or others by the same names. Where its trainings were compared
        with none, or with another candidate than this one, all are done again.

        Args:
            facts: of this race, or of its beginning.
        """
        mine = [_mark(each.entry()) for each in self.candidates]
        entries = [_mark(each.model_dump()) for each in facts.candidates]
        is_comparable = facts.reference is not None and entries[facts.reference] == mine[0]
        for told in facts.trials if is_comparable else ():
            if entries[told.candidate] in mine:
                trial = Trial.of(told, candidate=mine.index(entries[told.candidate]))
                self.trials[trial.candidate, trial.epochs] = trial
        before = facts.discarded + sum(told.steps for told in facts.trials)
        self.discarded = before - self.steps


def _mark(entry: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what tells a candidate from the others, of its entry in a report."""
    return entry["method"], entry["parameters"], entry.get("network")
