"""How far arms are from the best one, over the cells of a suite: regret, rank, paired leads."""

import statistics
from collections.abc import Mapping
from pathlib import Path

from benchmarks.arms import ARMS, DEFAULT, DENSE, SEARCHED
from benchmarks.scores import Score, Stored, score
from benchmarks.suite import SUITES, SuiteCell, setting_of
from benchmarks.timing import table

Accuracies = Mapping[str, Mapping[int, float]]
"""Of one cell: arm -> seed -> accuracy."""


class Results:
    """The stored runs of a suite's cells.

    Attributes:
        cells: of the suite, those that have a run.
        arms: that have a run anywhere, in the order of `ARMS`.
    """

    def __init__(self, by_cell: Mapping[SuiteCell, Accuracies]) -> None:
        """Take what was reached in each cell."""
        self._by_cell = {cell: found for cell, found in by_cell.items() if found}
        self.cells = list(self._by_cell)
        known = {arm for found in self._by_cell.values() for arm, runs in found.items() if runs}
        self.arms = [arm for arm in ARMS if arm in known]

    @classmethod
    def read(cls, suite: str, store: Path) -> "Results":
        """Read the runs of a suite.

        Args:
            suite: its name.
            store: folder of its settings.
        """
        found = {}
        for cell in SUITES[suite]:
            folder = store / setting_of(cell).name
            if (folder / "setting.json").exists():
                stored = Stored.read(folder)
                found[cell] = {arm: stored.values(arm, cell.budget) for arm in stored.arms}
        return cls(found)

    def score(self, arm: str, cell: SuiteCell) -> Score | None:
        """Return an arm's accuracy in a cell."""
        return score(list(self._by_cell[cell].get(arm, {}).values()))

    def best(self, cell: SuiteCell) -> float:
        """Return the mean accuracy of the best arm that keeps the budget and is no part of one."""
        return max(
            found.mean
            for arm in self.arms
            if arm != DENSE and not ARMS[arm].is_race and (found := self.score(arm, cell))
        )

    def regrets(self, arm: str) -> dict[SuiteCell, float]:
        """Return how far an arm is behind the best one, in each cell that it has runs of."""
        return {
            cell: self.best(cell) - found.mean
            for cell in self.cells
            if (found := self.score(arm, cell))
        }

    def ranks(self, arm: str) -> list[int]:
        """Return its places among all arms with a budget, 1 for the best, cell by cell."""
        places = []
        for cell in self.cells:
            scores = {a: f.mean for a in self.arms if a != DENSE and (f := self.score(a, cell))}
            if arm in scores:
                places.append(1 + sum(each > scores[arm] for each in scores.values()))
        return places

    def lead(self, arm: str, other: str) -> Score | None:
        """Return an arm's accuracy less another's, paired by seed: the mean over cells.

        The cells are the sample: what is said of them is meant for other networks, and runs of
        one cell resemble each other.
        """
        leads = []
        for found in self._by_cell.values():
            mine, theirs = found.get(arm, {}), found.get(other, {})
            if both := sorted(mine.keys() & theirs.keys()):
                leads.append(statistics.fmean(mine[seed] - theirs[seed] for seed in both))
        return score(leads)


def summary(results: Results) -> str:
    """Return the table of all arms: cells, mean regret and rank, what the default is ahead by."""
    against = DEFAULT if DEFAULT in results.arms else SEARCHED
    rows = []
    for arm in results.arms:
        regrets, ranks = list(results.regrets(arm).values()), results.ranks(arm)
        lead = None if arm == against else results.lead(against, arm)
        rows.append(
            [
                ARMS[arm].title,
                str(len(regrets)),
                found.text() if (found := score(regrets)) else "-",
                f"{statistics.fmean(ranks):.1f}" if ranks else "-",
                lead.text(signed=True) if lead else "-",
            ]
        )
    return table(
        ["", "cells", "mean regret, points", "mean rank", f"{ARMS[against].title} less it"], rows
    )


def by_cell(results: Results) -> str:
    """Return the table of accuracies, arms down, cells across."""
    rows = []
    for arm in results.arms:
        scores = [results.score(arm, cell) for cell in results.cells]
        rows.append([ARMS[arm].title, *(found.text() if found else "-" for found in scores)])
    return table(["test accuracy, %", *(cell.title for cell in results.cells)], rows)
