import random
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from npas import train
from npas.data import Dataset
from npas.errors import CheckpointError, NonFiniteLossError
from npas.spec import TrainingSpec
from npas.train import Command, Row, Trainer
from npas.train.evaluate import evaluate
from npas.train.objective import Penalty
from torch import nn

MakeTrainer = Callable[..., Trainer]

ADAMS = ("adam", "adamw")


def stop_at(
    trainer: Trainer, step: int, command: Command = Command.PAUSE
) -> Callable[[], Command]:
    return lambda: command if trainer.step == step else Command.CONTINUE


def go_on() -> Command:
    return Command.CONTINUE


def no_row(_row: Row) -> None:
    pass


def bits(trainer: Trainer) -> dict[str, bytes]:
    tensors = trainer.state().tensors
    return {name: t.contiguous().numpy().tobytes() for name, t in tensors.items()}


@pytest.mark.parametrize(
    "changes",
    [{"precision": "float32"}, {"precision": "bfloat16"}, *({"optimizer": o} for o in ADAMS)],
    ids=str,
)
def test_train_is_bit_equal_when_it_is_stopped_and_resumed_at_random_steps(
    make_trainer: MakeTrainer, tmp_path: Path, changes: dict[str, str]
) -> None:
    options = {"crop_padding": 1, "flip": True, "cutout": 3, **changes}
    whole = make_trainer(**options)
    assert whole.train(after_step=go_on, after_epoch=no_row) is Command.CONTINUE

    resumed = make_trainer(**options)
    for step in sorted(random.Random(7).sample(range(1, whole.total_steps), 6)):
        assert (
            resumed.train(after_step=stop_at(resumed, step), after_epoch=no_row) is Command.PAUSE
        )
        path = train.write(resumed.state(), tmp_path, step)
        resumed = make_trainer(**options)
        resumed.restore(train.read(path))
    resumed.train(after_step=go_on, after_epoch=no_row)

    assert bits(resumed) == bits(whole)
    assert [replace(row, seconds=0.0) for row in resumed.rows] == [
        replace(row, seconds=0.0) for row in whole.rows
    ]
    assert resumed.load_best() == whole.load_best()


def test_train_twice_from_one_seed_is_bit_equal_and_from_another_is_not(
    make_trainer: MakeTrainer,
) -> None:
    runs = [make_trainer(seed) for seed in (3, 3, 4)]

    for trainer in runs:
        trainer.train(after_step=go_on, after_epoch=no_row)

    assert bits(runs[0]) == bits(runs[1])
    assert bits(runs[0]) != bits(runs[2])


def test_train_leaves_the_callers_random_state_alone(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(epochs=1)
    before = torch.random.get_rng_state()

    trainer.train(after_step=go_on, after_epoch=no_row)

    assert torch.equal(torch.random.get_rng_state(), before)


def test_train_reports_each_epoch_and_learns(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(epochs=20)
    rows: list[Row] = []

    trainer.train(after_step=go_on, after_epoch=rows.append)

    assert rows == trainer.rows
    assert [row.epoch for row in rows] == list(range(1, 21))
    assert [row.step for row in rows] == [5 * n for n in range(1, 21)]  # 135 images, 5 batches
    assert {(row.stage, row.epochs) for row in rows} == {("train", 20)}
    assert rows[-1].train_loss < 0.6 * rows[0].train_loss
    assert rows[-1].train_accuracy > 0.6
    assert rows[-1].learning_rate == pytest.approx(0.05 * 0.2**3)


def test_row_is_read_though_a_later_release_says_more_of_it(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(epochs=1)
    trainer.train(after_step=go_on, after_epoch=lambda _: None)
    row = trainer.rows[-1]

    assert Row.of({**asdict(row), "later": 1}) == row


def test_choose_puts_the_best_epoch_into_the_model(
    make_trainer: MakeTrainer, few_digits: Dataset
) -> None:
    trainer = make_trainer(epochs=8, validation_fraction=0.3)
    trainer.train(after_step=go_on, after_epoch=no_row)
    accuracies = [row.validation_accuracy or 0.0 for row in trainer.rows]

    epoch, accuracy = trainer.load_best()

    best = max(accuracies)
    assert accuracy == best
    assert epoch == max(row.epoch for row in trainer.rows if row.validation_accuracy == best)
    images, labels = trainer.batches.validation
    again = evaluate(trainer.model, images, labels, inputs=few_digits.inputs())
    assert again.score == best


def test_choose_last_keeps_the_weights_as_they_are(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(keep="last")
    trainer.train(after_step=go_on, after_epoch=no_row)
    before = bits(trainer)

    epoch, _ = trainer.load_best()

    assert epoch == 4
    assert bits(trainer) == before


def test_choose_without_a_validation_split_gives_the_last_epoch(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(epochs=2, validation_fraction=0.0)
    trainer.train(after_step=go_on, after_epoch=no_row)

    assert trainer.load_best() == (2, None)
    assert trainer.rows[-1].step == 2 * 5  # 150 images in batches of 30


def test_finish_in_the_first_epoch_delivers_what_there_is(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()

    command = trainer.train(after_step=stop_at(trainer, 2, Command.FINISH), after_epoch=no_row)

    assert command is Command.FINISH
    assert trainer.load_best() == (0, None)


def test_loss_that_is_no_number_ends_the_training_with_a_reason(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(learning_rate=100.0, epochs=50)

    with pytest.raises(NonFiniteLossError, match="lower learning_rate") as caught:
        trainer.train(after_step=go_on, after_epoch=no_row)

    assert caught.value.code == "nan_loss"


class Exploding(nn.Module):
    """A linear network whose weight gets an infinite gradient in one step, from a finite loss."""

    def __init__(self, at_step: int) -> None:
        super().__init__()
        self.head = nn.Linear(64, 10)
        self.at_step, self.step = at_step, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(x.flatten(1))
        if self.training:
            self.step += 1
            if self.step == self.at_step:
                logits.register_hook(lambda gradient: gradient * torch.inf)
        return logits


@pytest.mark.parametrize("validation_fraction", [0.0, 0.1])
def test_weights_that_are_no_numbers_after_the_last_step_end_the_training(
    few_digits: Dataset, validation_fraction: float
) -> None:
    spec = TrainingSpec(epochs=1, batch_size=32, validation_fraction=validation_fraction)
    rows: list[Row] = []
    model = Exploding(at_step=0)
    trainer = Trainer(model, few_digits, spec, inputs=few_digits.inputs(), seed=0)
    model.at_step = trainer.total_steps

    with pytest.raises(NonFiniteLossError, match=r"a weight .*lower learning_rate"):
        trainer.train(after_step=go_on, after_epoch=rows.append)

    assert rows == []


class Masked(nn.Module):
    """A linear network with a mask of -inf as a buffer, and a statistic that may be spoiled."""

    def __init__(self, statistic: float) -> None:
        super().__init__()
        self.head, self.statistic = nn.Linear(64, 10), statistic
        self.register_buffer("mask", torch.full((3,), -torch.inf))
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.get_buffer("seen").fill_(self.statistic)
        logits: torch.Tensor = self.head(x.flatten(1))
        return logits


def test_only_buffers_that_are_infinite_from_the_start_may_be(few_digits: Dataset) -> None:
    spec = TrainingSpec(epochs=1, batch_size=32)
    inputs = few_digits.inputs()
    trainer = Trainer(Masked(1.0), few_digits, spec, inputs=inputs, seed=0)
    assert trainer.train(after_step=go_on, after_epoch=no_row) is Command.CONTINUE
    assert trainer.state().tensors["model/mask"].isinf().all()

    trainer = Trainer(Masked(torch.nan), few_digits, spec, inputs=inputs, seed=0)
    with pytest.raises(NonFiniteLossError, match="a statistic"):
        trainer.train(after_step=go_on, after_epoch=no_row)


def test_state_of_weights_that_are_no_numbers_is_not_kept(few_digits: Dataset) -> None:
    spec = TrainingSpec(epochs=2, batch_size=32)
    trainer = Trainer(Exploding(2), few_digits, spec, inputs=few_digits.inputs(), seed=0)
    assert trainer.train(after_step=stop_at(trainer, 2), after_epoch=no_row) is Command.PAUSE

    with pytest.raises(NonFiniteLossError, match="a weight"):
        trainer.state()


def test_coefficients_never_decay_and_norms_only_if_asked(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(norm_decay=False, weight_decay=0.1)
    names = {parameter: name for name, parameter in trainer.model.named_parameters()}

    decaying, still = trainer.optimizer.param_groups

    assert {names[p] for p in decaying["params"]} == {
        "one.0.weight",
        "one.4.weight",
        "one.7.weight",
        "two.1.weight",
    }
    assert (decaying["weight_decay"], still["weight_decay"]) == (0.1, 0.0)
    with_norms = make_trainer(weight_decay=0.1).optimizer.param_groups[1]["params"]
    assert len(with_norms) == 1  # the coefficients alone


def test_first_steps_equal_plain_pytorch(few_digits: Dataset) -> None:
    """Against a hand-written loop: the sum of cross-entropies, SGD with Nesterov and decay."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    twin = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    twin.load_state_dict(network.state_dict())
    spec = TrainingSpec(epochs=2, batch_size=50, crop_padding=0, label_smoothing=0.1)
    trainer = Trainer(network, few_digits, spec, inputs=few_digits.inputs(), seed=0)
    plain = torch.optim.SGD(
        twin.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, foreach=False
    )

    trainer.train(after_step=stop_at(trainer, 3), after_epoch=no_row)
    for index in range(3):
        images, labels = trainer.batches.get(0, index)
        logits = twin(trainer.inputs(images))
        plain.zero_grad()
        nn.functional.cross_entropy(logits, labels, label_smoothing=0.1).backward()
        plain.step()

    # The same formula in another order of additions: a few units in the last place.
    for mine, theirs in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ADAMS)
def test_adam_equals_its_formula(few_digits: Dataset, name: str) -> None:
    """Against Kingma & Ba, algorithm 1, in NumPy; AdamW decays the weight, Adam the gradient."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False))
    decay, rate = 0.1, 0.01
    w = network[1].weight.detach().double().numpy().copy()
    mean, square = np.zeros_like(w), np.zeros_like(w)
    spec = TrainingSpec.model_validate(
        {"epochs": 1, "batch_size": 30, "optimizer": name, "learning_rate": rate, "momentum": 0.8}
        | {"weight_decay": decay, "schedule": "constant", "crop_padding": 0}
    )
    trainer = Trainer(network, few_digits, spec, inputs=few_digits.inputs(), seed=0)

    trainer.train(after_step=stop_at(trainer, 3), after_epoch=no_row)
    for step in (1, 2, 3):
        images, labels = trainer.batches.get(0, step - 1)
        x = trainer.inputs(images).flatten(1).double().numpy()
        logits = x @ w.T
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        gradient = (p - np.eye(10)[labels.numpy()]).T @ x / len(x)
        if name == "adam":
            gradient = gradient + decay * w
        else:
            w = w - rate * decay * w
        mean = 0.8 * mean + 0.2 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        corrected = np.sqrt(square / (1 - 0.999**step)) + 1e-8
        w = w - rate * mean / (1 - 0.8**step) / corrected

    # Single against double precision, over three steps of about 0.01 each.
    np.testing.assert_allclose(network[1].weight.detach().numpy(), w, atol=1e-5)


@pytest.mark.parametrize(("name", "rate"), [("sgd", 0.1), ("adam", 0.001), ("adamw", 0.001)])
def test_rate_that_is_left_out_suits_the_optimizer(name: str, rate: float) -> None:
    spec = TrainingSpec.model_validate({"optimizer": name})

    assert spec.learning_rate == rate
    given = {"optimizer": name, "learning_rate": 0.5}
    assert TrainingSpec.model_validate(given).learning_rate == 0.5
    assert TrainingSpec.model_validate_json(spec.model_dump_json()) == spec


def test_restore_refuses_a_state_of_another_network(
    make_trainer: MakeTrainer, few_digits: Dataset
) -> None:
    state = make_trainer().state()
    other = Trainer(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
        few_digits,
        TrainingSpec(epochs=1),
        inputs=few_digits.inputs(),
        seed=0,
    )

    with pytest.raises(CheckpointError, match="another network"):
        other.restore(state)


def test_penalty_is_added_to_the_loss_and_to_the_gradient(few_digits: Dataset) -> None:
    def after_one_step(penalty: Penalty | None) -> tuple[float, torch.Tensor]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        nn.init.zeros_(network[1].bias)
        spec = TrainingSpec(
            epochs=1, batch_size=150, weight_decay=0.0, validation_fraction=0.0, milestones=()
        )
        trainer = Trainer(
            network, few_digits, spec, inputs=few_digits.inputs(), seed=0, penalty=penalty
        )
        trainer.train(after_step=go_on, after_epoch=no_row)
        return trainer.rows[0].train_loss, network[1].bias.detach()

    plain_loss, plain_bias = after_one_step(None)
    loss, bias = after_one_step(lambda model: 2 * model.get_parameter("1.bias").sum() + 5)

    assert loss - plain_loss == pytest.approx(5, abs=1e-5)
    # Nesterov's first step is (1 + momentum) times the rate times the gradient, which is 2.
    torch.testing.assert_close(bias, plain_bias - 1.9 * 0.1 * 2)
