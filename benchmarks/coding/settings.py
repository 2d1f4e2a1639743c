"""What all cells of `benchmarks.coded` have in common, and the cells."""

from dataclasses import dataclass
from typing import Any

from npas.spec import (
    ArchitectureSpec,
    BudgetSpec,
    DatasetSpec,
    JobSpec,
    MethodSpec,
    TrainingSpec,
)

from benchmarks.arms import FULL

BRIEF = TrainingSpec(
    epochs=10,
    batch_size=64,
    learning_rate=0.2,
    schedule="cosine",
    warmup_epochs=1,
    crop_padding=2,
    validation_fraction=0,
    keep="last",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One way to spend the bytes.

    Attributes:
        title: what it is, in the tables.
        method: of the jobs.
        network: its name.
        budgets: bytes of the file that it is tried with.
    """

    title: str
    method: str
    network: str
    budgets: tuple[int, ...]


BUDGETS = (24_000, 48_000, 96_000)
"""In bytes, those first that sharing should win at."""

ARMS = {
    "shared": Arm(
        title="ResNet-20, shared (block mix)",
        method="block_mix",
        network="resnet-20",
        budgets=BUDGETS,
    ),
    "dense": Arm(
        title="ResNet-20, nothing shared", method="dense", network="resnet-20", budgets=BUDGETS
    ),
    "reference": Arm(
        title="ResNet-8, nothing shared", method="dense", network="resnet-8", budgets=(96_000,)
    ),
}
"""In the order of the tables."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One job."""

    arm: str
    budget_bytes: int
    seed: int

    @property
    def name(self) -> str:
        """The stem of its file."""
        return f"{self.arm}-{self.budget_bytes}-{self.seed}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CodingSetting:
    """What all cells have in common.

    Attributes:
        name: folder of the stored runs.
        dataset: with its limits.
        training: the schedule.
        input_size: that the networks read, pixels.
    """

    name: str
    dataset: DatasetSpec
    training: TrainingSpec
    input_size: int

    def to_json(self) -> dict[str, Any]:
        """Return everything that a run depends on but its cell."""
        return {
            "dataset": self.dataset.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
            "input_size": self.input_size,
        }

    def job(self, cell: Cell) -> JobSpec:
        """Return the request of a cell."""
        arm = ARMS[cell.arm]
        return JobSpec(
            architecture=ArchitectureSpec(name=arm.network, input_size=self.input_size),
            budget=BudgetSpec(bytes=cell.budget_bytes),
            method=MethodSpec(name=arm.method),
            dataset=self.dataset,
            training=self.training,
            seed=cell.seed,
        )


SIZES: dict[str, tuple[TrainingSpec, int | None, int]] = {
    "small": (BRIEF, 5000, 16),
    "full": (FULL, None, 32),
}
"""Schedule, training images (None: all), pixels."""


def coding_setting(size: str, dataset: str) -> CodingSetting:
    """Return the setting of a size: "small" or "full".

    Args:
        size: of images and schedule.
        dataset: its name.
    """
    training, images, pixels = SIZES[size]
    return CodingSetting(
        name=f"{dataset.replace(':', '-')}-{size}",
        dataset=DatasetSpec(name=dataset, train_images=images),
        training=training,
        input_size=pixels,
    )


def cells(seeds: int) -> list[Cell]:
    """Return the cells in an order of which any beginning is useful: seed by seed, all arms."""
    return [
        Cell(arm=name, budget_bytes=budget, seed=seed)
        for seed in range(seeds)
        for budget in BUDGETS
        for name, arm in ARMS.items()
        if budget in arm.budgets
    ]
