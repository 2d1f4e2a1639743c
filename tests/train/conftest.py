"""A tiny dataset and tiny networks, so that hundreds of training steps take a second."""

from collections.abc import Callable

import npas.data
import pytest
import torch
from npas.data import Dataset
from npas.spec import DatasetSpec, TrainingSpec
from npas.train import Trainer
from npas.train.rounding import Rounding
from torch import Tensor, nn


class Pair(nn.Module):
    """Two small networks under one roof, as a shared model has them."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv2d(8, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(128, 10),
        )
        self.two = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        self.coefficients = nn.Parameter(torch.ones(3))

    def members(self, x: Tensor) -> dict[str, Tensor]:
        return {"one": self.one(x) * self.coefficients.mean(), "two": self.two(x)}


@pytest.fixture(scope="session")
def few_digits() -> Dataset:
    return npas.data.load(DatasetSpec(name="digits", train_images=150, test_images=50))


MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def make_trainer(few_digits: Dataset) -> MakeTrainer:
    def make(seed: int = 0, rounding: Rounding | None = None, **options: object) -> Trainer:
        torch.manual_seed(seed)
        spec = TrainingSpec.model_validate(
            {"epochs": 4, "batch_size": 32, "learning_rate": 0.05} | options
        )
        return Trainer(
            Pair(), few_digits, spec, inputs=few_digits.inputs(), seed=seed, rounding=rounding
        )

    return make
