"""Cells to choose on and cells to report: networks of five kinds, two datasets, budgets.

A cell is a network, a dataset and a budget. Whatever is chosen by trying is tried on those of
"development"; "test" is run once choices are frozen, for the report. No network of it has the
settings of one of "development". `benchmarks.methods run --suite NAME` makes the runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from npas.spec import DatasetSpec, TrainingSpec

from benchmarks.arms import SMALL, Setting

PIXELS = 16
"""Height and width of the images: a quarter of the work of 32, so that a run takes a minute."""

IMAGES, EPOCHS = 3_000, 8
"""Training images, the first ones, and how often they are seen. All 10,000 test images count."""

_SGD = SMALL.model_copy(update={"epochs": EPOCHS})
_ADAMW = _SGD.model_copy(
    update={"optimizer": "adamw", "learning_rate": 0.0005, "weight_decay": 0.05}
)
_ADAMW_FAST = _ADAMW.model_copy(update={"learning_rate": 0.01})
SCHEDULES: Mapping[str, TrainingSpec] = {
    "wrn": _SGD,
    "resnet": _SGD,
    "densenet": _SGD,
    "tiny": _ADAMW_FAST,
    "vit": _ADAMW,
}
"""By kind of network. The rate of SGD is that of `SMALL`. Those of AdamW are the best for dense
networks of "development", one seed, a fifth of the training images held out: tiny-24-4 0.005 and
0.01 (44.8 and 46.8 %), vit-4-48-2 0.00025, 0.0005 and 0.001 (27.5, 29.0 and 28.7 %)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteCell:
    """One place where arms are compared.

    Attributes:
        network: name of the architecture.
        dataset: name.
        budget: part of the dense size.
    """

    network: str
    dataset: str
    budget: float

    @property
    def title(self) -> str:
        """What it is, in tables."""
        return f"{self.network}, {self.dataset}, {100 * self.budget:g} %"


def _cells(*told: tuple[str, str, float]) -> tuple[SuiteCell, ...]:
    return tuple(SuiteCell(network=n, dataset=d, budget=b) for n, d, b in told)


SUITES: Mapping[str, tuple[SuiteCell, ...]] = {
    "development": _cells(
        ("wrn-10-2", "cifar10", 0.25),
        ("resnet-14", "cifar10", 0.1),
        ("densenet-16-12", "cifar10", 0.5),
        ("tiny-24-4", "cifar10", 0.25),
        ("vit-4-48-2", "cifar10", 0.1),
        ("wrn-16-1", "fashion-mnist", 0.05),
    ),
    "test": _cells(
        *(
            (network, "cifar10", budget)
            for network in ("wrn-16-2", "resnet-20", "densenet-19-12", "tiny-30-4", "vit-6-48-2")
            for budget in (0.25, 0.1)
        ),
        ("resnet-20", "fashion-mnist", 0.25),
        ("wrn-16-2", "fashion-mnist", 0.1),
    ),
}


def settings(suite: str) -> list[tuple[Setting, list[float]]]:
    """Return what cells of one network and dataset have in common, and their budgets.

    Args:
        suite: "development" or "test".
    """
    budgets: dict[str, list[float]] = {}
    found: dict[str, Setting] = {}
    for cell in SUITES[suite]:
        setting = found.setdefault(setting_of(cell).name, setting_of(cell))
        budgets.setdefault(setting.name, []).append(cell.budget)
    return [(setting, budgets[name]) for name, setting in found.items()]


def setting_of(cell: SuiteCell) -> Setting:
    """Return network, images and schedule of a cell."""
    architecture: dict[str, Any] = {"name": cell.network, "input_size": PIXELS}
    return Setting(
        name=f"{cell.dataset}-{cell.network}",
        architecture=architecture,
        dataset=DatasetSpec(name=cell.dataset, train_images=IMAGES, test_images=10_000),
        training=SCHEDULES[cell.network.partition("-")[0]],
    )
