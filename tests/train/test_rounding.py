"""The last epochs of a training see rounded weights, and the same ones after a pause."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from npas.delivery.coded.grid import Grid
from npas.train import Command, Trainer
from npas.train.rounding import Rounding
from torch import Tensor

EPOCHS = 8


class Halves:
    """Rounds to halves, or finer where there is room for more bits; counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, frozenset[str]]] = []

    def grid_for(
        self, tensors: Mapping[str, Tensor], squares: Mapping[str, float], *, more_bits: float
    ) -> Grid:
        assert all(square >= 0 for square in squares.values())
        self.asked.append((more_bits, frozenset(squares)))
        weights = [n for n, t in tensors.items() if t.dim() > 1 and t.dtype == torch.float32]
        return Grid(steps=dict.fromkeys(weights, 0.05 * 2.0**-more_bits), digits=6)

    def grid_of(self, facts: Mapping[str, Any]) -> Grid:
        return Grid(**facts)


def made(make_trainer: Any, **changes: Any) -> tuple[Trainer, Halves]:
    coder = Halves()
    rounding = Rounding(coder, epochs=EPOCHS)
    trainer = make_trainer(epochs=EPOCHS, validation_fraction=0.2, rounding=rounding, **changes)
    return trainer, coder


def train(trainer: Trainer, until: int | None = None) -> list[Any]:
    rows: list[Any] = []
    trainer.train(after_step=lambda: Command.CONTINUE, after_epoch=rows.append, until=until)
    return rows


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def is_rounded(tensor: Tensor, step: float) -> bool:
    return torch.allclose(tensor / step, torch.round(tensor / step), atol=1e-3)


def test_passes_see_rounded_weights_and_the_step_moves_those_behind(make_trainer: Any) -> None:
    trainer, _ = made(make_trainer)
    seen: list[bool] = []
    layer = trainer.model.get_submodule("one.0")
    layer.register_forward_pre_hook(
        lambda module, _: seen.append(is_rounded(module.get_parameter("weight").detach(), 0.05))
    )
    train(trainer)
    assert not seen[0]
    assert seen[-1]  # the last grade
    assert not is_rounded(layer.get_parameter("weight").detach(), 0.05)
    steps = trainer.steps_per_epoch
    assert all(seen[-steps:])


def test_rounding_begins_finer_than_the_file(make_trainer: Any) -> None:
    trainer, coder = made(make_trainer)
    train(trainer)
    more = [bits for bits, _ in coder.asked]
    assert more == sorted(more, reverse=True)
    assert more[-1] == 0
    assert coder.asked[-1][1] == {n for n, p in trainer.model.named_parameters()}


def test_only_epochs_that_are_rounded_in_full_count_as_the_best(make_trainer: Any) -> None:
    trainer, _ = made(make_trainer)
    rows = train(trainer)
    epoch, accuracy = trainer.load_best()
    assert trainer.rounding is not None
    full = [row for row in rows if trainer.rounding.is_full(row.epoch)]
    assert 0 < len(full) < EPOCHS
    assert accuracy == max(row.validation_accuracy for row in full)
    assert trainer.rounding.is_full(epoch)


@pytest.mark.parametrize("share", [0.2, 0.8, 0.95, 1.0])
def test_resumed_training_is_bit_equal(make_trainer: Any, share: float) -> None:
    whole, _ = made(make_trainer)
    train(whole)
    first, _ = made(make_trainer)
    train(first, until=int(share * first.total_steps))
    second, _ = made(make_trainer)
    second.restore(first.state())
    train(second)
    one, other = whole.state(), second.state()
    assert one.tensors.keys() == other.tensors.keys()
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, other.tensors[name]), name
    assert one.facts["rounding"] == other.facts["rounding"]


def test_a_training_of_one_epoch_is_rounded() -> None:
    rounding = Rounding(Halves(), epochs=1)
    assert rounding.is_full(1)


def test_without_rounding_a_state_is_as_ever(make_trainer: Any) -> None:
    state = make_trainer(epochs=1).state()
    assert "rounding" not in state.facts
    assert not [name for name in state.tensors if name.startswith("squares/")]
