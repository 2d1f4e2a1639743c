"""What all arms of `benchmarks.conversion` have in common: the network, images, schedules."""

from dataclasses import dataclass
from typing import Any

from npas.spec import DatasetSpec, TrainingSpec

from benchmarks.arms import FULL

BRIEF = TrainingSpec(
    epochs=5,
    batch_size=64,
    learning_rate=0.1,
    schedule="cosine",
    warmup_epochs=0.5,
    crop_padding=2,
    precision="bfloat16",
    validation_fraction=0,
    keep="last",
)
"""Five epochs of all training images, for minutes of a processor."""

SHARE = 5
"""Of the epochs of the trained network, one in so many is left for what comes after."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversionSetting:
    """What all arms have in common.

    Attributes:
        name: folder of the stored runs.
        architecture: of the trained network.
        dataset: with its limits.
        training: the schedule that the network was trained with.
        budgets: fractions of its size.
    """

    name: str
    architecture: str
    dataset: DatasetSpec
    training: TrainingSpec
    budgets: tuple[float, ...] = (0.5, 0.25, 0.1)

    @property
    def epochs(self) -> int:
        """Of everything that is trained after the network."""
        return max(1, self.training.epochs // SHARE)

    def to_json(self) -> dict[str, Any]:
        """Return everything that a run depends on but its cell."""
        return {
            "architecture": self.architecture,
            "dataset": self.dataset.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
            "budgets": list(self.budgets),
            "epochs": self.epochs,
        }


SIZES = {"small": BRIEF, "full": FULL}
"""Small is for a processor; full has the founding papers' schedule, 200 epochs."""


def conversion_setting(size: str, dataset: str) -> ConversionSetting:
    """Return the setting of a size: "small" or "full".

    Args:
        size: a key of `SIZES`.
        dataset: its name.
    """
    return ConversionSetting(
        name=f"{dataset}-{size}",
        architecture="resnet-20",
        dataset=DatasetSpec(name=dataset),
        training=SIZES[size],
    )
