"""A training that does otherwise than asked: in smaller parts, or slower."""

from pathlib import Path

import pytest
import torch
from npas import train
from npas.data import Dataset
from npas.errors import InvalidSpecError, NonFiniteLossError
from npas.spec import TrainingSpec
from npas.train import UNCHANGED, Adjustments, Command, Row, Trainer
from torch import Tensor, nn

AUGMENTED = {"crop_padding": 1, "flip": True, "cutout": 2}


class Seeing(nn.Module):
    """A plain network without batch normalisation that remembers what it saw while it trained."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 10)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen.append(x.detach().clone())
        logits: Tensor = self.head(x.flatten(1))
        return logits


def trainer(dataset: Dataset, adjustments: Adjustments, **options: object) -> Trainer:
    torch.manual_seed(0)
    asked = {"epochs": 2, "batch_size": 32, "learning_rate": 0.05} | AUGMENTED | options
    spec = TrainingSpec.model_validate(asked)
    return Trainer(
        Seeing(), dataset, spec, inputs=dataset.inputs(), seed=5, adjustments=adjustments
    )


def advance(some: Trainer, until: int | None = None) -> list[Row]:
    rows: list[Row] = []
    some.train(after_step=lambda: Command.CONTINUE, after_epoch=rows.append, until=until)
    return rows


def seen(some: Trainer) -> Tensor:
    assert isinstance(some.model, Seeing)
    return torch.cat(some.model.seen)


def weights(some: Trainer) -> Tensor:
    return torch.cat([p.detach().flatten() for p in some.model.parameters()])


def test_parts_see_the_same_images_in_the_same_order(few_digits: Dataset) -> None:
    whole, parted = (
        trainer(few_digits, UNCHANGED),
        trainer(few_digits, Adjustments(micro_batches=4)),
    )

    rows = advance(whole), advance(parted)

    assert torch.equal(seen(whole), seen(parted))
    assert isinstance(parted.model, Seeing)
    assert len(parted.model.seen) == 4 * parted.step
    # Another order of float32 sums, over ten steps.
    torch.testing.assert_close(weights(parted), weights(whole), rtol=1e-4, atol=1e-6)
    assert [row.train_accuracy for row in rows[0]] == [row.train_accuracy for row in rows[1]]


def test_training_goes_on_across_a_change_of_parts(few_digits: Dataset, tmp_path: Path) -> None:
    whole, first = trainer(few_digits, UNCHANGED), trainer(few_digits, UNCHANGED)
    advance(whole)
    advance(first, until=3)  # in the midst of an epoch
    path = train.write(first.state(), tmp_path, 3)

    second = trainer(few_digits, Adjustments(micro_batches=2))
    second.restore(train.read(path))
    advance(second)

    assert torch.equal(torch.cat([seen(first), seen(second)]), seen(whole))
    torch.testing.assert_close(weights(second), weights(whole), rtol=1e-4, atol=1e-6)
    assert [row.epoch for row in second.rows] == [1, 2]


def test_rate_is_that_part_of_what_was_asked_for(few_digits: Dataset) -> None:
    plain, slower = (
        advance(trainer(few_digits, Adjustments(learning_rate_factor=factor), schedule="cosine"))
        for factor in (1.0, 0.25)
    )
    assert [row.learning_rate for row in slower] == [0.25 * row.learning_rate for row in plain]


@pytest.mark.parametrize("parts", [1, 3, 1000])
def test_parts_hold_two_images_at_least(parts: int) -> None:
    some = Adjustments(micro_batches=parts)
    assert [some.parts(images) for images in (1, 3, 7, 5000)] == [
        1,
        1,
        min(parts, 3),
        min(parts, 2500),
    ]
    assert 1 <= some.images_at_once <= 500


@pytest.mark.parametrize("wrong", [{"micro_batches": 0}, {"learning_rate_factor": 1.5}])
def test_adjustments_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidSpecError, match="at least 1"):
        Adjustments.of(wrong)


def test_adjustments_of_a_later_release_are_read() -> None:
    assert Adjustments.of({"micro_batches": 2, "later": 1}) == Adjustments(micro_batches=2)
    assert UNCHANGED.explained() == []
    told = Adjustments(micro_batches=2, learning_rate_factor=0.1).explained()
    assert ["batch normalisation" in told[0], "0.1" in told[1]] == [True, True]


def break_memory(some: Trainer) -> None:
    parameter = next(iter(some.model.parameters()))
    some.optimizer.state[parameter]["exp_avg_sq"].fill_(float("inf"))


def test_state_with_an_infinite_memory_is_not_kept(few_digits: Dataset) -> None:
    """Adam's step is then zero, and the weights stay finite: nothing would be learned again."""
    some = trainer(few_digits, UNCHANGED, optimizer="adam")
    advance(some, until=2)
    some.state()
    break_memory(some)
    advance(some, until=3)
    with pytest.raises(NonFiniteLossError, match="the optimiser remembers"):
        some.state()
