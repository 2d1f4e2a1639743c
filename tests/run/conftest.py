"""A job that takes a second, and a listener that remembers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from npas.jobs.listener import NullListener
from npas.plans import Plan
from npas.spec import JobSpec
from npas.train import Command


class Ear(NullListener):
    """Remembers what it hears, and stops when it is told to."""

    def __init__(self, command: str = "continue", after: int = -1) -> None:
        """Ask for something after so many steps; each step asks once."""
        self.asked, self.left = Command(command), after
        self.phases: list[str] = []
        self.plans: dict[int, Plan] = {}
        self.rows: dict[tuple[str, int], Mapping[str, Any]] = {}
        self.fractions: list[float] = []
        self.files: list[tuple[Path, int]] = []
        self.events: list[object] = []

    def phase(self, name: str) -> None:
        self.phases.append(name)

    def event(self, type: str, message: str, data: Mapping[str, Any]) -> None:
        self.events.append((type, message, data))

    def plan(self, version: int, plan: Plan) -> None:
        self.plans[version] = plan

    def metrics(self, row: Mapping[str, Any]) -> None:
        self.rows[row["stage"], row["epoch"]] = row

    def progress(self, fraction: float, eta_seconds: float | None) -> None:
        assert eta_seconds is None or eta_seconds >= 0
        self.fractions.append(fraction)

    def checkpoint(self, path: Path, step: int) -> None:
        assert path.is_file()
        self.files.append((path, step))

    def command(self) -> Command:
        self.left -= 1
        return self.asked if self.left < 0 else Command.CONTINUE


MakeSpec = Callable[..., JobSpec]


@pytest.fixture
def make_spec() -> MakeSpec:
    def make(**changes: Any) -> JobSpec:
        request = {
            "architecture": "resnet-8",
            "budget": {"fraction": 0.6},
            "method": {"name": "block_mix", "search": True, "search_epochs": 2},
            "dataset": {"name": "digits", "train_images": 150, "test_images": 60},
            "training": {"epochs": 4, "batch_size": 32},
        }
        return JobSpec.model_validate(request | changes)

    return make


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small batches are faster so, and results do not depend on the machine's cores."""
    torch.set_num_threads(1)


@pytest.fixture
def make_ear() -> type[Ear]:
    return Ear
