"""The stored records of `benchmarks.ensemble`, by arm and seed."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.ensembles.arms import ARMS
from benchmarks.scores import Score, score

Record = dict[str, Any]
Measure = Callable[[Record], float | None]
"""A record -> a number of it; None: it has none."""


class Stored:
    """The records of one setting.

    Attributes:
        setting: content of setting.json.
        records: all of them.
        configurations: with records, in the setting's order.
    """

    def __init__(self, setting: Record, records: Iterable[Record]) -> None:
        """Keep them.

        Args:
            setting: content of setting.json.
            records: contents of the other files.
        """
        self.setting, self.records = setting, list(records)
        known = {record["configuration"] for record in self.records}
        self.configurations = [name for name in setting["configurations"] if name in known]

    @classmethod
    def read(cls, folder: Path) -> "Stored":
        """Read a setting's folder."""
        found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
        (setting,) = [record for record in found if "arm" not in record]
        return cls(setting, [record for record in found if "arm" in record])

    def arms(self, configuration: str) -> list[str]:
        """Return the arms with records of a configuration, in the order of the tables."""
        known = {r["arm"] for r in self.records if r["configuration"] == configuration}
        return [arm for arm in ARMS if arm in known]

    def of(self, configuration: str, arm: str) -> list[Record]:
        """Return an arm's finished records, by rising seed."""
        found = [
            r
            for r in self.records
            if (r["configuration"], r["arm"], r["status"]) == (configuration, arm, "done")
        ]
        return sorted(found, key=lambda record: int(record["seed"]))

    def diverged(self, configuration: str, arm: str) -> int:
        """Return how many runs of an arm came to nothing."""
        return sum(
            (r["configuration"], r["arm"], r["status"]) == (configuration, arm, "diverged")
            for r in self.records
        )

    def values(self, configuration: str, arm: str, measure: Measure) -> dict[int, float]:
        """Return a number of each finished record that has it, by seed."""
        found = {r["seed"]: measure(r) for r in self.of(configuration, arm)}
        return {seed: value for seed, value in found.items() if value is not None}

    def score(self, configuration: str, arm: str, measure: Measure) -> Score | None:
        """Return the mean of a number over seeds, with its interval."""
        return score(list(self.values(configuration, arm, measure).values()))

    def difference(
        self, configuration: str, arm: str, other: str, measure: Measure
    ) -> Score | None:
        """Return an arm's number less another's, seed by seed."""
        return self.difference_of(configuration, (arm, measure), (other, measure))

    def difference_of(
        self, configuration: str, one: tuple[str, Measure], other: tuple[str, Measure]
    ) -> Score | None:
        """Return a number of an arm less a number of an arm, seed by seed."""
        mine, theirs = (self.values(configuration, *each) for each in (one, other))
        return score([mine[seed] - theirs[seed] for seed in sorted(mine.keys() & theirs.keys())])
