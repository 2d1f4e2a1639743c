"""What `benchmarks.methods` compares: arms, settings, and the one run that each cell is."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import npas
from npas import arch, methods
from npas.plans import Plan
from npas.spec import DatasetSpec, JobSpec, MethodSpec, TrainingSpec

SMALL = TrainingSpec(
    epochs=10,
    batch_size=32,
    learning_rate=0.1,
    schedule="cosine",
    warmup_epochs=1,
    crop_padding=0,
    validation_fraction=0,
    keep="last",
)
"""The best of eleven schedules for dense WRN-16-1: 61.6 % of 4,000 held-out training images.

Each was tried with one seed on 4,000 other training images. Batches of 64 reached 55.6 to 59.6 %;
of 32: learning rates 0.05, 0.1 and 0.2 with shifts by 4 pixels 59.0, 60.4 and 60.8 %, shifts by 2
60.7 %, label smoothing 60.0 %.
"""

FULL = TrainingSpec(cutout=16, validation_fraction=0, keep="last")
"""The founding papers' schedule: 200 epochs, all training images, the last epoch counts."""

TENTH = FULL.model_copy(update={"epochs": 20})
"""The same in a tenth of the epochs, of a tenth of the images: does the command run to its end?"""

SIZES: dict[str, tuple[TrainingSpec, int | None, int | None]] = {
    "small": (SMALL, 5000, 10_000),
    "tenth": (TENTH, 5000, 10_000),
    "full": (FULL, None, None),
}
"""Schedule, training images and test images; None: all."""

BUDGETS = (0.25, 0.1, 0.5, 0.05)
"""Fractions of the dense size, in the order of the work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One way to spend a budget.

    Attributes:
        title: what it is, in the tables.
        method: its name and options, as in a request.
        of: the arm that this one takes a part out of, "" for a method of its own.
        evidence: what stands in place of what the search measures, see `benchmarks.evidence`;
            "": nothing does.
        is_race: only the race is run: the job after it is the chosen arm's, to the byte.
        training: what it does otherwise than the schedule of all arms.
        rate: times the schedule's learning rate, of all parameters.
        scale: of the network's channels; the budget stays that of the setting's network.
    """

    title: str
    method: str | dict[str, Any]
    of: str = ""
    evidence: str = ""
    is_race: bool = False
    training: Mapping[str, Any] = field(default_factory=dict)
    rate: float = 1.0
    scale: float = 1.0


ARMS: dict[str, Arm] = {
    "dense": Arm(title="dense, all parameters", method="dense"),
    "narrow": Arm(title="narrower network", method="narrow"),
    "random": Arm(title="random sharing", method="random"),
    "uniform": Arm(title="uniform sharing", method="uniform"),
    "soft_sharing": Arm(title="soft sharing", method="soft_sharing"),
    "soft_sharing-2": Arm(
        title="soft sharing, 2 templates",
        method={"name": "soft_sharing", "templates": 2},
        of="soft_sharing",
    ),
    "ssn": Arm(title="SSN, learned groups", method={"name": "ssn", "groups": "learned"}),
    "superweights": Arm(title="SuperWeights", method="superweights"),
    "block_mix": Arm(
        title="block mix, by gradients", method={"name": "block_mix", "search": True}
    ),
    "block_mix-uses": Arm(title="block mix", method="block_mix"),
    "block_mix-depth": Arm(
        title="block mix, by depth",
        method={"name": "block_mix", "search": False, "bins": 4, "keep_plain": False},
        of="block_mix",
    ),
    "block_mix-random": Arm(
        title="block mix, random groups",
        method={"name": "block_mix", "search": True, "bins": 1},
        of="block_mix",
        evidence="lots",
    ),
    "block_mix-positions": Arm(
        title="block mix, plain where a weight is used most",
        method={"name": "block_mix", "search": True},
        of="block_mix",
        evidence="positions",
    ),
    "block_mix-residual": Arm(
        title="block mix, plain where the bank cannot follow",
        method={"name": "block_mix", "search": True},
        of="block_mix",
        evidence="residual",
    ),
    "block_mix-regrouped": Arm(
        title="block mix, regrouped in training",
        method={"name": "block_mix", "search": True},
        of="block_mix",
        evidence="regrouped",
    ),
    "block_mix-mutated": Arm(
        title="block mix, regrouped by lot",
        method={"name": "block_mix", "search": True},
        of="block_mix",
        evidence="mutated",
    ),
    "random-private": Arm(
        title="random sharing, stem and classifier private",
        method={"name": "random", "private": ["stem", "classifier"]},
        of="random",
    ),
    "superweights-depth": Arm(
        title="SuperWeights, by depth",
        method={"name": "superweights", "search": False},
        of="superweights",
    ),
    "superweights-random": Arm(
        title="SuperWeights, random groups",
        method="superweights",
        of="superweights",
        evidence="lots",
    ),
    "ssn-single": Arm(
        title="SSN, one group", method={"name": "ssn", "groups": "single"}, of="ssn"
    ),
    "ssn-random": Arm(
        title="SSN, random groups", method={"name": "ssn", "groups": "random"}, of="ssn"
    ),
    "auto": Arm(title="auto", method="auto", is_race=True),
}
WIDE = 1.4
"""Times as many channels, for at most twice the multiply-adds (docs/decisions/0046)."""

ARMS |= {
    f"{name}-wide": replace(
        ARMS[name], title=f"{ARMS[name].title}, {WIDE:g} times as wide", of=name, scale=WIDE
    )
    for name in ("block_mix-depth", "random", "random-private", "soft_sharing", "ssn", "uniform")
}
BANK_RATE, RATE = 2.0, 2.0
ARMS |= {
    f"{name}-rate2": replace(
        ARMS[name],
        title=f"{ARMS[name].title}, banks at twice the rate",
        of=name,
        training={"bank_rate": BANK_RATE},
    )
    for name in ("block_mix-positions", "random", "soft_sharing", "ssn", "superweights", "uniform")
}
ARMS |= {
    f"{name}-all2": replace(
        ARMS[name], title=f"{ARMS[name].title}, all at twice the rate", of=name, rate=RATE
    )
    for name in ("block_mix-positions", "narrow", "random")
}
DENSE = "dense"
"""The arm without a budget."""
DEFAULT = "block_mix-uses"
"""The arm of what a request gets that names no method."""

SEARCHED = "block_mix"
"""The arm of what such a request got before (docs/decisions/0049)."""


def as_measured(name: str) -> MethodSpec:
    """Return a method as stored runs of other benchmarks had it: block mix searched then."""
    return MethodSpec.model_validate(ARMS[SEARCHED].method if name == SEARCHED else name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What all arms have in common.

    Attributes:
        name: folder of the stored runs.
        architecture: of the dense network, a name or a whole spec.
        dataset: with its limits.
        training: the schedule.
    """

    name: str
    architecture: str | Mapping[str, Any]
    dataset: DatasetSpec
    training: TrainingSpec

    def to_json(self) -> dict[str, Any]:
        """Return everything that a run depends on but its cell."""
        return {
            "architecture": self.architecture,
            "dataset": self.dataset.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
        }


def setting(size: str, dataset: str, architecture: str) -> Setting:
    """Return the setting of a size: "small" or "full"."""
    training, train_images, test_images = SIZES[size]
    return Setting(
        name=f"{dataset}-{architecture}-{size}",
        architecture=architecture,
        dataset=DatasetSpec(name=dataset, train_images=train_images, test_images=test_images),
        training=training,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One run to be made: an arm, a budget as a fraction of the dense size, a seed."""

    arm: str
    budget: float
    seed: int

    @property
    def name(self) -> str:
        """The stem of its file."""
        return f"{self.arm}-{100 * self.budget:g}-{self.seed}"


def cells(arms: Sequence[str], budgets: Sequence[float], seeds: int) -> list[Cell]:
    """Return the runs in an order of which any beginning is useful: seed by seed, all arms."""
    found = []
    for seed in range(seeds):
        if DENSE in arms:
            found.append(Cell(arm=DENSE, budget=1.0, seed=seed))
        for budget in budgets:
            found += [Cell(arm=a, budget=budget, seed=seed) for a in arms if a != DENSE]
    return found


def job(setting: Setting, cell: Cell, data_folder: Path | None = None) -> JobSpec:
    """Return a cell as a request, the same that a user would send.

    A method that draws lots draws those of the cell's seed.

    Args:
        setting: that it is of.
        cell: to be run.
        data_folder: where its dataset is; None: the library's default.
    """
    method = MethodSpec.model_validate(ARMS[cell.arm].method)
    if "seed" in methods.find(method.name).Options.model_fields:
        method = MethodSpec(name=method.name, **method.options, seed=cell.seed)
    architecture: str | Mapping[str, Any] = setting.architecture
    budget: dict[str, Any] = {"fraction": cell.budget}
    if (scale := ARMS[cell.arm].scale) != 1:
        budget = {"parameters": int(cell.budget * dense_size(setting, data_folder))}
        known = arch.as_spec(architecture).model_dump(exclude_defaults=True)
        architecture = {**known, "options": {**known.get("options", {}), "scale": scale}}
    return JobSpec.model_validate(
        {
            "architecture": architecture,
            "budget": budget,
            "method": method,
            "dataset": setting.dataset,
            "training": _training(setting, ARMS[cell.arm]),
            "seed": cell.seed,
            "explain": 0,
        }
    )


def _training(setting: Setting, arm: Arm) -> dict[str, Any]:
    known = setting.training.model_dump()
    rate = arm.rate * setting.training.learning_rate
    return {**known, "learning_rate": rate, **arm.training}


def plan_digest(plan: Plan) -> str:
    """Return what tells two plans apart."""
    return hashlib.sha256(plan.to_json().encode()).hexdigest()[:16]


def first_plan(setting: Setting, cell: Cell, data_folder: Path | None) -> Plan:
    """Return the plan before anything is measured.

    Raises:
        InfeasibleBudgetError: the arm cannot be made so small.
        NpasError: there is no such method or option.
    """
    return npas.plan(job(setting, cell, data_folder), data_folder=data_folder)


def dense_size(setting: Setting, data_folder: Path | None) -> int:
    """Return the trainable parameters of the setting's network without sharing."""
    cell = Cell(arm=DENSE, budget=1.0, seed=0)
    return first_plan(setting, cell, data_folder).ledger.dense
