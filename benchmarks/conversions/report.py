"""The tables of `benchmarks.conversion`, from its stored records."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.conversions.arms import ARMS, HEALING
from benchmarks.scores import Score, score
from benchmarks.timing import table

Record = dict[str, Any]

TRAINED = "teacher"
OTHERS = ("scratch", "scratch-taught", "narrow-taught", "convert-aligned", "convert-unaligned")
"""What a conversion is compared with, beside the trained network."""

NEAR = (0.5, 0.01)
"""Within how much of the trained network a conversion to what fraction is wanted to be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredConversions:
    """The records of one setting.

    Attributes:
        setting: what they have in common.
        records: those that are done, by arm, budget and seed.
        trained: those of the trained networks, by seed.
    """

    setting: Record
    records: dict[tuple[str, float, int], Record]
    trained: dict[int, Record]

    @classmethod
    def read(cls, folder: Path) -> "StoredConversions":
        """Read a folder."""
        all_of_them = [json.loads(path.read_text()) for path in sorted(folder.glob("*-*.json"))]
        done = [each for each in all_of_them if each["status"] == "done"]
        return cls(
            setting=json.loads((folder / "setting.json").read_text()),
            records={(r["arm"], r["budget"], r["seed"]): r for r in done if r["arm"] in ARMS},
            trained={r["seed"]: r for r in done if r["arm"] == "teacher"},
        )

    @property
    def budgets(self) -> Sequence[float]:
        """What networks are brought into, fractions, the largest first."""
        return [float(each) for each in self.setting["budgets"]]

    def of(self, arm: str, budget: float) -> dict[int, Record]:
        """Return the records of an arm at a budget, by seed."""
        return {s: r for (a, b, s), r in self.records.items() if (a, b) == (arm, budget)}

    def difference(self, arm: str, other: str, budget: float) -> Score | None:
        """Return the accuracy of an arm less another's, or the trained network's, by seed."""
        theirs = self.trained if other == TRAINED else self.of(other, budget)
        mine = self.of(arm, budget)
        both = sorted(mine.keys() & theirs.keys())
        return score([mine[s]["accuracy"] - theirs[s]["accuracy"] for s in both])


def conversion_table(stored: StoredConversions) -> str:
    """Return the accuracy of every arm at every budget."""
    rows = []
    for name, arm in ARMS.items():
        if arm.at_full_size:
            cells = [_mean(stored.of(name, 1).values(), "accuracy")]
            cells += [""] * (len(stored.budgets) - 1)
            title = f"{arm.title} (100 %)"
        else:
            cells = [_mean(stored.of(name, b).values(), "accuracy") for b in stored.budgets]
            title = arm.title
        if any(each not in ("", "-") for each in cells):
            rows.append([title, *cells])
    return table(["", *(f"{100 * b:g} %" for b in stored.budgets)], rows)


def steps_table(stored: StoredConversions) -> str:
    """Return what a conversion has after each of its steps."""
    rows = []
    for name, arm in ARMS.items():
        for budget in stored.budgets if arm.fit is not None else ():
            if found := list(stored.of(name, budget).values()):
                starts = [each["start"] for each in found]
                rows.append(
                    [
                        f"{arm.title}, {100 * budget:g} %",
                        str(len(found)),
                        _mean(starts, "source_accuracy"),
                        _mean(starts, "accuracy"),
                        _mean(found, "accuracy"),
                        f"{max(each['parameters'] for each in found):,}",
                    ]
                )
    header = ["", "seeds", "the network itself, %", "fitted, norms anew, %", "healed, %"]
    return table([*header, "parameters"], rows)


def differences_table(stored: StoredConversions) -> str:
    """Return what conversion gains or loses, paired by seed, in points."""
    rows = []
    for other, title in ((TRAINED, "the trained network"), *((n, ARMS[n].title) for n in OTHERS)):
        found = [stored.difference("convert", other, b) for b in stored.budgets]
        if any(found):
            rows.append([title, *("-" if f is None else f.text(signed=True) for f in found)])
    return table(["converted, less", *(f"{100 * b:g} %" for b in stored.budgets)], rows)


def verdicts(stored: StoredConversions) -> list[str]:
    """Return whether the mean is as near to the trained network, and as far ahead, as wanted."""
    told = []
    lead = stored.difference("convert", TRAINED, NEAR[0])
    if lead is not None:
        is_met = lead.mean >= -NEAR[1]
        told.append(
            f"At {100 * NEAR[0]:g} %, {lead.text(signed=True)} points of the trained network: "
            f"{'met' if is_met else 'not met'}."
        )
    for budget in stored.budgets:
        ahead = stored.difference("convert", "scratch", budget)
        if ahead is not None:
            told.append(
                f"At {100 * budget:g} %, {ahead.text(signed=True)} points of training from "
                f"nothing for as long: {'met' if ahead.mean > 0 else 'not met'}."
            )
    return told


def conversion_section(stored: StoredConversions, name: str) -> str:
    """Return a setting's part of the page.

    Args:
        stored: its records.
        name: of the setting.
    """
    about, training = stored.setting, stored.setting["training"]
    trained = list(stored.trained.values())
    tested = max((each["test_images"] for each in trained), default=0)
    images = about["dataset"]["train_images"]
    heading = (
        f"{about['architecture']}, trained for {training['epochs']} epochs on "
        f"{f'the first {images:,}' if images else 'all'} training images (batch "
        f"{training['batch_size']}, learning rate {training['learning_rate']:g}, "
        f"{training['schedule']}, {training['precision']}): {_mean(trained, 'accuracy')} % of "
        f"{tested:,} test images, {len(trained)} seeds. Every arm has "
        f"{about['epochs']} of these epochs; the learning rate of arms that start from its "
        f"weights is {HEALING['learning_rate']:g}, of the others that of the network. Arms of one "
        "seed are parts of the first. Intervals are 95 %, by Student's t over seeds, none where "
        "there is one; bold where they leave zero out."
    )
    wanted = (
        f"Wanted, on the mean: at {100 * NEAR[0]:g} % within {100 * NEAR[1]:g} point of the "
        "trained network, and at each budget ahead of training from nothing for as long."
    )
    parts = [f"### {name}", heading, "Accuracy, %:", conversion_table(stored)]
    parts += ["What each step was worth:", steps_table(stored), "Paired by seed, in points:"]
    return "\n\n".join([*parts, differences_table(stored), " ".join([wanted, *verdicts(stored)])])


def _mean(records: Iterable[Record], field: str) -> str:
    found = score([float(each[field]) for each in records])
    return "-" if found is None else found.text()
