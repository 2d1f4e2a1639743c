"""The arms of `benchmarks.conversion`, the cells that are made of them, and their requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from npas.spec import BudgetSpec, JobSpec, StartSpec
from npas.spec.start import Fit

from benchmarks.conversions.settings import ConversionSetting

METHOD = {"name": "block_mix", "search": False, "bins": 4, "keep_plain": False}
"""How the arms share, but for those of another method: the default method with groups by depth, so
that nothing is searched and all epochs are epochs of the training."""

HEALING = {"learning_rate": 0.05}
"""Half of the rate that the network was trained with: the best of 0.1, 0.05 and 0.02 on a
ResNet-14 and Fashion-MNIST, where fits to outputs were better than fits to weights, too."""

KNOWLEDGE = {"temperature": 4.0, "weight": 0.9}
"""Of every arm that has a teacher."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One way to come to a budget with a trained network at hand.

    Attributes:
        title: what it is, in the tables.
        method: name and options.
        fit: how the weights of the trained network are taken over; None: it starts from nothing.
        teacher: whether it learns from the trained network.
        first_seed_only: whether one seed is enough: of parts that others are made of.
        at_full_size: whether it has no budget.
    """

    title: str
    method: dict[str, Any]
    fit: Fit | None = None
    teacher: bool = True
    first_seed_only: bool = False
    at_full_size: bool = False


SOFT = {"name": "soft_sharing"}
ARMS: dict[str, Arm] = {
    "convert": Arm(
        title="converted: aligned, fitted to outputs, healed", method=METHOD, fit="activations"
    ),
    "convert-aligned": Arm(
        title="converted: aligned, fitted to weights, healed", method=METHOD, fit="aligned"
    ),
    "scratch": Arm(title="from nothing for as long", method=METHOD, teacher=False),
    "scratch-taught": Arm(title="from nothing for as long, taught", method=METHOD),
    "narrow-taught": Arm(
        title="narrower, from nothing for as long, taught", method={"name": "narrow"}
    ),
    "dense-taught": Arm(
        title="the same network, from nothing for as long, taught",
        method={"name": "dense"},
        at_full_size=True,
    ),
    "convert-soft": Arm(
        title="converted, soft sharing", method=SOFT, fit="activations", first_seed_only=True
    ),
    "convert-unaligned": Arm(
        title="converted: fitted to weights as they are, healed",
        method=METHOD,
        fit="weights",
        first_seed_only=True,
    ),
    "convert-untaught": Arm(
        title="converted, healed without a teacher",
        method=METHOD,
        fit="activations",
        teacher=False,
        first_seed_only=True,
    ),
}
"""In the order of the tables."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One record to be made; budget: a fraction of the trained network's size."""

    arm: str
    budget: float
    seed: int

    @property
    def name(self) -> str:
        """The stem of its file."""
        return f"{self.arm}-{100 * self.budget:g}-{self.seed}"


def cells(arms: Sequence[str], budgets: Sequence[float], seeds: Sequence[int]) -> list[Cell]:
    """Return the cells in an order of which any beginning is useful.

    Seed by seed what all seeds have, then the parts of the first.
    """
    found: list[Cell] = []
    for seed in seeds:
        for budget in budgets:
            for arm in (each for each in arms if not ARMS[each].first_seed_only):
                if not ARMS[arm].at_full_size:
                    found.append(Cell(arm=arm, budget=budget, seed=seed))
                elif budget == budgets[0]:
                    found.append(Cell(arm=arm, budget=1, seed=seed))
    for budget in budgets:
        parts = (each for each in arms if ARMS[each].first_seed_only)
        found += [Cell(arm=arm, budget=budget, seed=seeds[0]) for arm in parts]
    return found


def job(setting: ConversionSetting, cell: Cell, *, checkpoint: str, teacher: str) -> JobSpec:
    """Return the request of a cell, the same that a user would send.

    Args:
        setting: of all arms.
        cell: that is made.
        checkpoint: SHA-256 of the trained network's file.
        teacher: name of that file in the data folder, without its ending, for arms that learn from
            it and do not start from it.
    """
    arm = ARMS[cell.arm]
    changes: dict[str, Any] = {"epochs": setting.epochs}
    changes["warmup_epochs"] = (
        setting.training.warmup_epochs * setting.epochs / (setting.training.epochs)
    )
    if arm.fit is not None:
        changes |= HEALING
    if arm.teacher:
        who = "start" if arm.fit is not None else f"checkpoint:{teacher}"
        changes["distillation"] = {"teacher": who, **KNOWLEDGE}
    training = setting.training.model_dump() | changes
    return JobSpec.model_validate(
        {
            "architecture": setting.architecture,
            "budget": BudgetSpec(fraction=cell.budget),
            "method": arm.method,
            "dataset": setting.dataset,
            "training": training,
            "seed": cell.seed,
            "start": StartSpec(checkpoint=checkpoint, fit=arm.fit) if arm.fit else None,
            "corrupted_images": 0,
        }
    )
