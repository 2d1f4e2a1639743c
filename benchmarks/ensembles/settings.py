"""What all arms of `benchmarks.ensemble` have in common: networks, images, schedule."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from npas.spec import ArchitectureSpec, DatasetSpec, NetworkSpec, TrainingSpec

from benchmarks.arms import FULL, SMALL

BRIEF = SMALL.model_copy(update={"epochs": 6, "batch_size": 64, "learning_rate": 0.2})
"""`benchmarks.arms.SMALL` made cheaper, for dense WRN-16-2 at scale 0.5 on 16 pixels.

The best of five, each with one seed on 4,000 other training images: 47.3 % of 4,000 held-out ones.
With batches of 64, learning rate 0.1: 46.2 %, with shifts by 2 pixels 45.0 %; of 32, 0.1 and 0.05:
45.9 and 46.2 %.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """Networks that share one bank, and what for.

    Attributes:
        name: of the configuration.
        title: in the tables.
        networks: the members, the largest first.
        fraction: the bank's budget over the sum of the dense sizes.
    """

    name: str
    title: str
    networks: tuple[NetworkSpec, ...]
    fraction: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What all arms have in common.

    Attributes:
        name: folder of the stored runs.
        dataset: with its limits.
        training: the schedule.
        configurations: by name.
        held_out: images at the end of the training set that nothing is trained on.
        corrupted: how many of the first test images are corrupted.
        heads: of MIMO.
    """

    name: str
    dataset: DatasetSpec
    training: TrainingSpec
    configurations: dict[str, Configuration]
    held_out: int
    corrupted: int
    heads: int

    def to_json(self) -> dict[str, Any]:
        """Return everything that a run depends on but its cell."""
        return {
            "dataset": self.dataset.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
            "held_out": self.held_out,
            "corrupted": self.corrupted,
            "heads": self.heads,
            "configurations": {
                each.name: {
                    "title": each.title,
                    "fraction": each.fraction,
                    "networks": [n.model_dump(mode="json") for n in each.networks],
                }
                for each in self.configurations.values()
            },
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How large everything is.

    Attributes:
        training: the schedule.
        train_images: of the training set, the first ones.
        test_images: likewise; None: all.
        held_out: of the training set, the last ones.
        corrupted: of the test images, the first ones.
        heads: of MIMO.
        input_size: that the networks read, pixels.
        scale: of all channel counts.
        names: depth and width of the members, by configuration.
    """

    training: TrainingSpec
    train_images: int
    test_images: int | None
    held_out: int
    corrupted: int
    heads: int
    input_size: int
    scale: float
    names: dict[str, tuple[tuple[str, int, float], ...]]


SIZES = {
    "small": Size(
        training=BRIEF,
        train_images=4000,
        test_images=4000,
        held_out=2000,
        corrupted=200,
        heads=2,
        input_size=16,
        scale=0.5,
        names={
            "depth-width": (
                ("deep-wide", 16, 2),
                ("deep-slim", 16, 1),
                ("flat-wide", 10, 2),
                ("flat-slim", 10, 1),
            ),
            "width": (("wide", 16, 2), ("middle", 16, 1.5), ("slim", 16, 1)),
        },
    ),
    "full": Size(
        training=FULL,
        train_images=48_000,
        test_images=None,
        held_out=2000,
        corrupted=10_000,
        heads=3,
        input_size=32,
        scale=1.0,
        names={
            "depth-width": (
                ("deep-wide", 28, 7),
                ("deep-slim", 28, 4),
                ("flat-wide", 16, 7),
                ("flat-slim", 16, 4),
            ),
            "width": (("wide", 28, 7), ("middle", 28, 4), ("slim", 28, 3)),
        },
    ),
}
"""Small ones are for hours of a processor; full ones are the SuperWeights paper's networks."""

SIZES["long"] = replace(
    SIZES["small"], training=BRIEF.model_copy(update={"epochs": 3 * BRIEF.epochs})
)
"""The small ones trained three times as long, all else as it is: nothing was chosen for it."""

FRACTIONS = {"depth-width": 0.5143, "width": 0.6642}
"""18 million parameters over 35.0 and 27.1 million, the sums of the paper's dense networks."""

TITLES = {"depth-width": "two depths, two widths", "width": "three widths"}


def network(name: str, depth: int, width: float, size: Size) -> NetworkSpec:
    """Return a member; a width between whole numbers is the one below, scaled."""
    whole = int(width)
    architecture = ArchitectureSpec(
        name=f"wrn-{depth}-{whole}",
        input_size=size.input_size,
        options={"scale": size.scale * width / whole},
    )
    return NetworkSpec(name=name, architecture=architecture)


def setting(size: str, dataset: str, chosen: Sequence[str] = tuple(FRACTIONS)) -> Setting:
    """Return the setting of a size: "small", "long" or "full".

    Args:
        size: a key of `SIZES`.
        dataset: its name.
        chosen: configurations.
    """
    about = SIZES[size]
    return Setting(
        name=f"{dataset}-{size}",
        dataset=DatasetSpec(
            name=dataset, train_images=about.train_images, test_images=about.test_images
        ),
        training=about.training,
        configurations={
            name: Configuration(
                name=name,
                title=TITLES[name],
                networks=tuple(network(*each, about) for each in about.names[name]),
                fraction=FRACTIONS[name],
            )
            for name in chosen
        },
        held_out=about.held_out,
        corrupted=about.corrupted,
        heads=about.heads,
    )
