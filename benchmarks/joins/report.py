"""The tables of `benchmarks.joining`."""

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.ensembles.measures import Column
from benchmarks.joins.arms import ARMS, JOINING, METHODS
from benchmarks.scores import Score, score
from benchmarks.timing import table

Record = dict[str, Any]

POINTS = 0.01
"""How far below three from the start a third network that joins may be."""

COLUMNS = (
    Column(title="third alone, %", path=("third", "accuracy")),
    Column(title="its NLL", path=("third", "nll"), factor=1, digits=3),
    Column(title="all together, %", path=("together", "accuracy")),
    Column(title="their NLL", path=("together", "nll"), factor=1, digits=3),
)


class StoredJoins:
    """The records of one setting.

    Attributes:
        setting: content of setting.json.
        records: all of them.
        arms: with records, in the order of the tables.
    """

    def __init__(self, setting: Record, records: Iterable[Record]) -> None:
        """Keep them.

        Args:
            setting: content of setting.json.
            records: contents of the other files.
        """
        self.setting, self.records = setting, list(records)
        known = {record["arm"] for record in self.records}
        self.arms = [arm for arm in ARMS if arm in known]

    @classmethod
    def read(cls, folder: Path) -> "StoredJoins":
        """Read a setting's folder."""
        found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
        (setting,) = [record for record in found if "arm" not in record]
        return cls(setting, [record for record in found if "arm" in record])

    def of(self, arm: str, status: str = "done") -> list[Record]:
        """Return an arm's records of a status, by rising seed."""
        found = [r for r in self.records if (r["arm"], r["status"]) == (arm, status)]
        return sorted(found, key=lambda record: int(record["seed"]))

    def values(self, arm: str, column: Column) -> dict[int, float]:
        """Return a number of each finished record that has it, by seed."""
        records = [r for r in self.of(arm) if r[column.path[0]] is not None]
        return {r["seed"]: v for r in records if (v := column.of(r)) is not None}

    def difference(self, arm: str, other: str, column: Column) -> Score | None:
        """Return an arm's number less another's, seed by seed."""
        mine, theirs = self.values(arm, column), self.values(other, column)
        return score([mine[seed] - theirs[seed] for seed in sorted(mine.keys() & theirs.keys())])


def joins_table(stored: StoredJoins) -> str:
    """Return how good every arm is, and what it has and took."""
    rows = []
    for arm in stored.arms:
        found, title = stored.of(arm), ARMS[arm].title
        if lost := len(stored.of(arm, "diverged")):
            title += f" ({lost} diverged)"
        if short := stored.of(arm, "infeasible"):
            title += f" (needs {100 * short[0]['needed'] / short[0]['third_dense']:.1f} %)"
        cells = [each.text(score(list(stored.values(arm, each).values()))) for each in COLUMNS]
        count = f"{max(r['parameters'] for r in found):,}" if found else "-"
        seconds = statistics.fmean(r["cpu_seconds"] for r in found) if found else None
        took = "-" if seconds is None else f"{seconds:,.0f}"
        rows.append([title, str(len(found)), *cells, count, took])
    return table(
        ["", "seeds", *(each.title for each in COLUMNS), "parameters", "training, s"], rows
    )


def added_table(stored: StoredJoins) -> str:
    """Return what the third network added to the bank that it joined: the most of all seeds."""
    rows = []
    for arm in stored.arms:
        found = [r for r in stored.of(arm) if r.get("added")]
        if not found:
            continue
        most = max(found, key=lambda record: int(record["added"]["parameters"]))
        added, limit = most["added"], most["share"]
        needed = f"needs {100 * added['share']:.1f} %" if added["parameters"] > limit else "yes"
        rows.append(
            [
                ARMS[arm].title,
                f"{added['parameters']:,}",
                f"{100 * added['share']:.1f} %",
                f"{max(r['added']['file_bytes'] for r in found):,}",
                needed,
            ]
        )
    share = f"within {100 * stored.setting['share']:g} %"
    return table(["", "parameters added", "of its dense size", "bytes of the file", share], rows)


def joins_differences(stored: StoredJoins) -> str:
    """Return what joining later loses or gains, paired by seed."""
    rows = []
    for method in METHODS:
        for kind in JOINING:
            arm = f"{kind}-{method}"
            for other in (f"together-{method}", "alone-narrow", "alone-dense"):
                found = [stored.difference(arm, other, each) for each in COLUMNS]
                if any(found):
                    texts = [c.text(f, signed=True) for c, f in zip(COLUMNS, found, strict=True)]
                    rows.append([f"{ARMS[arm].title}, less {ARMS[other].title}", *texts])
    return table(["", *(each.title for each in COLUMNS)], rows)


def verdicts(stored: StoredJoins) -> list[str]:
    """Return for each method whether a third network that joins is as small and as good as asked.

    As good as asked: on the mean of the seeds, no more than `POINTS` below three from the start.
    """
    told = []
    for method, title in METHODS.items():
        arm = f"joined-{method}"
        lead = stored.difference(arm, f"together-{method}", COLUMNS[0])
        if lead is None:
            continue
        largest = max(r["added"]["share"] for r in stored.of(arm))
        is_met = largest <= stored.setting["share"] and lead.mean >= -POINTS
        told.append(
            f"{title}: {100 * largest:.1f} % of its dense size and "
            f"{COLUMNS[0].text(lead, signed=True)} points: {'met' if is_met else 'not met'}."
        )
    return told


def joining_section(stored: StoredJoins, name: str) -> str:
    """Return a setting's part of the page.

    Args:
        stored: its records.
        name: of the setting.
    """
    about = stored.setting
    data, training = about["dataset"], about["training"]
    names = ", ".join(_named(each) for each in about["pair"])
    versions = sorted({r["versions"]["torch"] for r in stored.records})
    devices = sorted({r["device"] for r in stored.records})
    images = f"the first {data['train_images']:,}" if data["train_images"] else "all"
    tested = {r["test_images"] for r in stored.records if r["status"] == "done"}
    heading = (
        f"{_named(about['third'])} joins {names}, which share one bank of "
        f"{100 * about['fraction']:.4g} % of their dense size; it may add "
        f"{100 * about['share']:g} % of its own. {images.capitalize()} training images, "
        f"{training['epochs']} epochs for every job, batch {training['batch_size']}, learning "
        f"rate {training['learning_rate']:g} ({training['schedule']}), the last epoch on "
        f"{max(tested, default=0):,} test images. Intervals are 95 %, by Student's t over seeds, "
        f"none where there is one; bold where they leave zero out. Where the third joined and "
        f"nothing else learned, the others' outputs were equal to the bit on all test images. "
        f"{', '.join(devices)}, torch {', '.join(versions)}."
    )
    wanted = (
        f"Wanted: at most {100 * about['share']:g} %, and at most {100 * POINTS:g} point of "
        "accuracy below three from the start, on the mean."
    )
    parts = [f"### {name}", heading, joins_table(stored), "What the third added:"]
    parts += [added_table(stored), "Paired by seed; percentages in points:"]
    return "\n\n".join([*parts, joins_differences(stored), " ".join([wanted, *verdicts(stored)])])


def _named(network: Record) -> str:
    about = network["architecture"]
    return f"{about['name']} x {about['options'].get('scale', 1):g}"
