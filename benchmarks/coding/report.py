"""The table of `benchmarks.coded`."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.coding.settings import ARMS, BUDGETS
from benchmarks.scores import Score, score
from benchmarks.timing import table

Record = dict[str, Any]

GATE = (
    "MLPerf Tiny's image classification asks 85 % of a ResNet-8 of 96 kB in int8, trained on all "
    "50,000 images of 32 pixels for hundreds of epochs: the line of ResNet-8 is that network "
    "under this table's schedule, not a try at the gate."
)

REFERENCE = "reference"
"""The arm that is told beside that gate."""


class StoredCodings:
    """The records of one setting.

    Attributes:
        setting: content of setting.json.
        records: all of them.
    """

    def __init__(self, setting: Record, records: Iterable[Record]) -> None:
        """Keep them.

        Args:
            setting: content of setting.json.
            records: contents of the other files.
        """
        self.setting, self.records = setting, list(records)

    @classmethod
    def read(cls, folder: Path) -> "StoredCodings":
        """Read a setting's folder."""
        found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
        (setting,) = [record for record in found if "arm" not in record]
        return cls(setting, [record for record in found if "arm" in record])

    def of(self, arm: str, budget: int) -> list[Record]:
        """Return the finished records of an arm at a budget, by rising seed."""
        found = [
            r
            for r in self.records
            if (r["arm"], r["budget_bytes"], r["status"]) == (arm, budget, "done")
        ]
        return sorted(found, key=lambda record: int(record["seed"]))

    def lead(self, budget: int) -> Score | None:
        """Return how far sharing is ahead of not sharing at a budget, seed by seed."""
        shared, dense = (
            {r["seed"]: float(r["accuracy"]) for r in self.of(arm, budget)}
            for arm in ("shared", "dense")
        )
        return score([shared[seed] - dense[seed] for seed in sorted(shared.keys() & dense.keys())])


def coding_table(stored: StoredCodings) -> str:
    """Return how good every arm is at every size, and what its file holds."""
    rows = []
    for budget in BUDGETS:
        for name, arm in ARMS.items():
            found = stored.of(name, budget)
            if not found:
                continue
            accuracies = [float(r["accuracy"]) for r in found]
            before = [float(r["accuracy_before_rounding"] or r["accuracy"]) for r in found]
            rows.append(
                [
                    f"{budget:,}",
                    arm.title,
                    str(len(found)),
                    _percent(score(accuracies)),
                    _percent(score(before)),
                    f"{max(r['parameters'] for r in found):,}",
                    f"{sum(r['bits'] for r in found) / len(found):.2f}",
                    f"{min(r['file_bytes'] for r in found):,}",
                ]
            )
    heads = ["bytes", "", "seeds", "accuracy, %", "weights unrounded, %"]
    return table([*heads, "parameters", "bits a weight", "smallest file"], rows)


def verdicts(stored: StoredCodings) -> str:
    """Return how far sharing is ahead at each size."""
    told = []
    for budget in BUDGETS:
        lead = stored.lead(budget)
        if lead is not None:
            told.append(f"{budget:,} bytes {_percent(lead, signed=True)}")
    return f"Sharing less not sharing, points, paired by seed: {'; '.join(told)}."


def coding_section(stored: StoredCodings, name: str) -> str:
    """Return a setting's part of the page.

    Args:
        stored: its records.
        name: of the setting.
    """
    about = stored.setting
    data, training = about["dataset"], about["training"]
    images = f"the first {data['train_images']:,}" if data["train_images"] else "all"
    tested = {r["test_images"] for r in stored.records if r["status"] == "done"}
    devices = sorted({r["device"] for r in stored.records})
    heading = (
        f"{images.capitalize()} training images at {about['input_size']} pixels, "
        f"{training['epochs']} epochs, batch {training['batch_size']}, learning rate "
        f"{training['learning_rate']:g} ({training['schedule']}); the accuracy is that of the "
        f"reloaded file on {max(tested, default=0):,} test images. Intervals are 95 %, by "
        f"Student's t over seeds. {', '.join(devices)}."
    )
    parts = [f"### {name}", heading, coding_table(stored), verdicts(stored)]
    is_beside = any(record["arm"] == REFERENCE for record in stored.records)
    return "\n\n".join([*parts, GATE] if is_beside else parts)


def _percent(found: Score | None, *, signed: bool = False) -> str:
    return "-" if found is None else found.text(signed=signed)
