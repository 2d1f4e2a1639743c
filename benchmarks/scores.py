"""Means, intervals and tables of the runs that `benchmarks.methods` stored."""

import functools
import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.arms import ARMS, DEFAULT, DENSE, SEARCHED
from benchmarks.timing import table

Record = dict[str, Any]

_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_Z95 = 1.959964
_PM = "\N{PLUS-MINUS SIGN}"


def t95(degrees: int) -> float:
    """Return the 97.5 % point of Student's t: a table, then Fisher's expansion around z.

    Args:
        degrees: of freedom, at least 1.
    """
    if degrees <= len(_T95):
        return _T95[degrees - 1]
    z, n = _Z95, degrees
    first = (z**3 + z) / (4 * n)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    return z + first + second + third


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """A mean over seeds.

    Attributes:
        mean: of the values.
        half: half width of the 95 % interval of the mean by Student's t; None for one value.
        count: how many values.
    """

    mean: float
    half: float | None
    count: int

    @property
    def error(self) -> float | None:
        """Standard error of the mean; None for one value."""
        return None if self.half is None else self.half / t95(self.count - 1)

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.half is not None and abs(self.mean) > self.half

    def text(self, *, signed: bool = False) -> str:
        """Return mean and interval of fractions in percent points, bold if signed and clear."""
        mean = f"{100 * self.mean:{'+' if signed else ''}.1f}"
        whole = mean if self.half is None else f"{mean} {_PM} {100 * self.half:.1f}"
        return f"**{whole}**" if signed and self.is_clear else whole


def score(values: Sequence[float]) -> Score | None:
    """Return mean and interval, None of no values."""
    if not values:
        return None
    half = None
    if len(values) > 1:
        half = t95(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return Score(mean=statistics.fmean(values), half=half, count=len(values))


class Stored:
    """The runs of one setting."""

    def __init__(self, setting: Record, records: Iterable[Record]) -> None:
        """Sort them by arm and budget.

        Args:
            setting: content of setting.json.
            records: contents of the runs' files.
        """
        self.setting = setting
        self.records = list(records)
        known = {record["arm"] for record in self.records}
        self.arms = [arm for arm in ARMS if arm in known]
        self.budgets = sorted(
            {r["fraction"] for r in self.records if r["arm"] != DENSE}, reverse=True
        )

    @functools.cached_property
    def counts(self) -> list[int]:
        """Numbers of runs behind the means, ascending, each once."""
        cells = ((arm, budget) for arm in self.arms for budget in self.budgets)
        return sorted({len(found) for cell in cells if (found := self.values(*cell))})

    @classmethod
    def read(cls, folder: Path) -> "Stored":
        """Read a setting's folder."""
        found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
        (setting,) = [record for record in found if "arm" not in record]
        return cls(setting, [record for record in found if "arm" in record])

    def of(self, arm: str, budget: float) -> list[Record]:
        """Return an arm's records at a budget; dense has one for all budgets."""
        wanted = 1.0 if arm == DENSE else budget
        return [r for r in self.records if r["arm"] == arm and r["fraction"] == wanted]

    def values(self, arm: str, budget: float, field: str = "accuracy") -> dict[int, float]:
        """Return what the finished runs of an arm came to, by seed; of a race, the winner's."""
        if ARMS[arm].is_race:
            chosen = self.chosen(arm, budget)
            won = {seed: self.values(name, budget, field) for seed, name in chosen.items()}
            return {seed: found[seed] for seed, found in won.items() if seed in found}
        done = [r for r in self.of(arm, budget) if r["status"] == "done"]
        return {record["seed"]: record[field] for record in done}

    def chosen(self, arm: str, budget: float) -> dict[int, str]:
        """Return the arm that won each race, by seed; the default is what it is now, if it ran."""
        raced = [r for r in self.of(arm, budget) if r["status"] == "raced"]
        won = {r["seed"]: r["race"]["method"].partition(" ")[0] for r in raced}
        is_now = bool(self.values(DEFAULT, budget))
        return {
            seed: DEFAULT if is_now and name == SEARCHED else name for seed, name in won.items()
        }

    def score(self, arm: str, budget: float) -> Score | None:
        """Return an arm's accuracy at a budget."""
        return score(list(self.values(arm, budget).values()))

    def difference(self, arm: str, other: str, budget: float) -> Score | None:
        """Return an arm's accuracy less another's, seed by seed."""
        mine, theirs = self.values(arm, budget), self.values(other, budget)
        return score([mine[seed] - theirs[seed] for seed in sorted(mine.keys() & theirs.keys())])


def _cell(stored: Stored, arm: str, budget: float) -> str:
    records = stored.of(arm, budget)
    infeasible = [r for r in records if r["status"] == "infeasible"]
    if infeasible:
        return f"needs {100 * infeasible[0]['minimum'] / infeasible[0]['dense']:.1f} %"
    diverged = sum(r["status"] == "diverged" for r in records)
    found = stored.score(arm, budget)
    text = found.text() if found else "-"
    if found and found.count < stored.counts[-1]:
        text += f" [{found.count}]"
    return f"{text} ({diverged} diverged)" if diverged else text


def _counts(stored: Stored) -> str:
    """Say how many seeds stand behind the means; where not all are equal, cells say fewer."""
    if not stored.counts:
        return "no runs"
    most = stored.counts[-1]
    seeds = "1 seed" if most == 1 else f"{most} seeds"
    return seeds if len(stored.counts) == 1 else f"{seeds}, or as many as [ ] says"


def _header(stored: Stored) -> list[str]:
    return [f"{100 * budget:g} %" for budget in stored.budgets]


def accuracies(stored: Stored) -> str:
    """Return the table of test accuracies, arms down, budgets across."""
    rows = [
        [ARMS[arm].title, *(_cell(stored, arm, budget) for budget in stored.budgets)]
        for arm in stored.arms
    ]
    return table(["test accuracy, %", *_header(stored)], rows)


def differences(stored: Stored, arm: str, others: Sequence[str]) -> str:
    """Return the table of an arm's lead over others, paired by seed."""
    rows = []
    for other in others:
        found = [stored.difference(arm, other, budget) for budget in stored.budgets]
        texts = [each.text(signed=True) if each else "-" for each in found]
        rows.append([ARMS[other].title, *texts])
    return table([f"{ARMS[arm].title} less ...", *_header(stored)], rows)


def costs(stored: Stored) -> str:
    """Return what the arms used: parameters of the budget, seconds, share of the search."""
    rows = []
    for arm in stored.arms:
        done = [r for r in stored.records if r["arm"] == arm and r["status"] == "done"]
        if not done:
            continue
        used = [r["parameters"] / r["budget"] for r in done]
        seconds = statistics.fmean(r["cpu_seconds"] for r in done)
        search = statistics.fmean(r["search_seconds"] / r["seconds"] for r in done)
        span = f"{100 * min(used):.1f} to {100 * max(used):.1f} %"
        searched = f"{100 * search:.0f} %" if search else "none"
        rows.append([ARMS[arm].title, span, f"{seconds:.0f}", searched])
    return table(["", "of the budget used", "processor seconds a run", "of it for search"], rows)


def choices(stored: Stored, race: str) -> str:
    """Return how good the choices of a race were, beside the best arm of each budget."""
    rivals = [a for a in stored.arms if not ARMS[a].of and not ARMS[a].is_race and a != DENSE]
    rows = []
    for budget in stored.budgets:
        scores = {arm: found for arm in rivals if (found := stored.score(arm, budget))}
        mine = stored.score(race, budget)
        if not scores or mine is None:
            continue
        best = max(scores, key=lambda arm: scores[arm].mean)
        error = scores[best].error
        lead = mine.mean - scores[best].mean
        within = "-" if error is None else "yes" if lead >= -error else "no"
        taken = Counter(stored.chosen(race, budget).values()).most_common()
        rows.append(
            [
                f"{100 * budget:g} %",
                ", ".join(f"{ARMS[arm].title} ({count})" for arm, count in taken),
                mine.text(),
                f"{ARMS[best].title}, {scores[best].text()}",
                f"{100 * lead:+.1f}" + ("" if error is None else f" of {100 * error:.1f}"),
                within,
                f"{100 * _cost(stored, race, budget):.0f} %",
            ]
        )
    header = ["budget", "chosen (seeds)", "accuracy", "best arm", "difference of one error"]
    return table([*header, "within", "cost"], rows)


def _cost(stored: Stored, race: str, budget: float) -> float:
    """Return the epochs of a race over those of training all its candidates, mean over seeds."""
    epochs = stored.setting["training"]["epochs"]
    raced = [r["race"] for r in stored.of(race, budget) if r["status"] == "raced"]
    return statistics.fmean(r["epochs"] / (epochs * len(r["candidates"])) for r in raced)


def section(stored: Stored, picture: str) -> str:
    """Return a setting's part of the page.

    Args:
        stored: its runs.
        picture: path of the plot, as the page links it.
    """
    about, training = stored.setting, stored.setting["training"]
    data = about["dataset"]
    images = f"{data['train_images']:,} images" if data["train_images"] else "all images"
    dense = next((r["dense"] for r in stored.records), 0)
    versions = sorted({r["versions"]["torch"] for r in stored.records if r.get("versions")})
    races = [arm for arm in stored.arms if ARMS[arm].is_race]
    first = DEFAULT if DEFAULT in stored.arms else SEARCHED
    others = [arm for arm in stored.arms if arm not in (first, DENSE, *races)]
    lead = differences(stored, first, [*others, DENSE])
    ssn = [arm for arm in stored.arms if ARMS[arm].of == "ssn"]
    parts = [
        f"### {about['architecture']} on {data['name']}",
        f"{dense:,} dense parameters; {images} of the training set, {training['epochs']} epochs, "
        f"batch {training['batch_size']}, learning rate {training['learning_rate']:g} "
        f"({training['schedule']}), the last epoch on the test set. {_counts(stored)}; intervals "
        f"are 95 %, by Student's t over seeds, none where there is one; -: not run. "
        f"torch {', '.join(versions)}.",
        f"![accuracy over budget]({picture})",
        accuracies(stored),
        "Paired by seed, percent points; bold where the interval leaves zero out:",
        lead,
    ]
    if "ssn" in stored.arms and ssn:
        parts.append(differences(stored, "ssn", ssn))
    for race in (r for r in races if any(stored.score(r, budget) for budget in stored.budgets)):
        parts += [
            "What the race of `auto` chose, and what the choice came to when trained; its cost is "
            "that of the race over training every candidate, in epochs:",
            choices(stored, race),
        ]
    return "\n\n".join([*parts, "What the runs used:", costs(stored)])
