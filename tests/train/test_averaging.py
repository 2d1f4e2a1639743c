"""Averaged weights: the numbers, the statistics, what is chosen, what goes on after a pause."""

import copy
from collections.abc import Callable
from typing import Any

import npas
import pytest
import torch
from npas.data import Dataset
from npas.sharing.model import SharedModel
from npas.sharing.untying import separated, untie
from npas.spec import AveragingSpec, TrainingSpec
from npas.train import Command, Trainer
from npas.train.averaging import STATISTICS_BATCH, Average
from npas.train.evaluate import evaluate
from npas.train.weights import weights_of
from pydantic import ValidationError
from torch import Tensor, nn

MakeTrainer = Callable[..., Trainer]
KINDS: list[Any] = ["ema", {"kind": "ema", "decay": 0.5}, "swa", {"kind": "swa", "start": 0.0}]


def parameters(trainer: Trainer) -> dict[str, Tensor]:
    return {name: each.detach().clone() for name, each in trainer.model.named_parameters()}


def trained(trainer: Trainer, until: int | None = None) -> list[dict[str, Tensor]]:
    """Train, and return the parameters after each step."""
    seen: list[dict[str, Tensor]] = []

    def note() -> Command:
        seen.append(parameters(trainer))
        return Command.CONTINUE

    trainer.train(after_step=note, after_epoch=lambda _: None, until=until)
    return [*seen[1:], parameters(trainer)]


def by_hand(steps: list[dict[str, Tensor]], spec: AveragingSpec, begins: int) -> dict[str, Tensor]:
    """Return the average of steps, in double precision."""
    taken = [{name: each.double() for name, each in step.items()} for step in steps[begins:]]
    found = taken[0]
    for count, step in enumerate(taken[1:], 1):
        last = 0.9999 if spec.decay is None else spec.decay
        decay = min(last, (1 + count) / (10 + count))
        stays = count / (count + 1) if spec.kind == "swa" else decay
        found = {name: stays * found[name] + (1 - stays) * step[name] for name in found}
    return found


def average(trainer: Trainer) -> dict[str, Tensor]:
    tensors = trainer.state().tensors
    return {n.removeprefix("average/"): t for n, t in tensors.items() if n.startswith("average/")}


@pytest.mark.parametrize("asked", KINDS, ids=str)
def test_average_is_that_of_every_step(make_trainer: MakeTrainer, asked: Any) -> None:
    trainer = make_trainer(average=asked)
    steps = trained(trainer)
    spec = AveragingSpec.model_validate(asked)
    begins = round(spec.start * 4) * trainer.steps_per_epoch
    expected = by_hand(steps, spec, begins)
    found = average(trainer)
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-4, atol=1e-6)
    assert not torch.equal(found["two.1.weight"], steps[-1]["two.1.weight"])


def test_decay_is_warmed_up_so_that_the_start_is_forgotten() -> None:
    spec = AveragingSpec(kind="ema", decay=0.999)
    average = Average(spec, epochs=2, steps_per_epoch=10)
    model = nn.Linear(1, 1, bias=False)
    for step in range(1, 21):
        with torch.no_grad():
            model.weight.fill_(float(step))
        average.add(model, step)
    assert [average.decay(n) for n in (1, 2, 10**6)] == [2 / 11, 3 / 12, 0.999]
    assert float(average.tensors()["weight"]) > 17  # without a warm-up it would be below 2
    assert average.count == 20


def test_swa_begins_in_the_last_epoch_at_the_latest() -> None:
    average = Average(AveragingSpec(kind="swa", start=0.9), epochs=1, steps_per_epoch=3)
    average.add(nn.Linear(1, 1), 1)
    assert average.count == 1


def test_validation_and_delivery_are_of_the_average(
    make_trainer: MakeTrainer, few_digits: Dataset
) -> None:
    trainer = make_trainer(average="ema", validation_fraction=0.3, epochs=6)
    trained(trainer)
    epoch, accuracy = trainer.load_best()
    assert accuracy == max(row.validation_accuracy or 0 for row in trainer.rows)
    again = evaluate(trainer.model, *trainer.batches.validation, inputs=few_digits.inputs())
    assert again.score == accuracy
    last = make_trainer(average="ema", validation_fraction=0.3, epochs=epoch)
    trained(last)
    delivered = parameters(trainer)
    assert all(torch.equal(average(last)[name], delivered[name]) for name in delivered)


@pytest.mark.parametrize("changes", [{"keep": "last"}, {"validation_fraction": 0.0}], ids=str)
def test_last_weights_are_averaged_too(make_trainer: MakeTrainer, changes: Any) -> None:
    trainer = make_trainer(average="swa", **changes)
    trained(trainer)
    expected = {name: each.clone() for name, each in average(trainer).items()}
    trainer.load_best()
    delivered = parameters(trainer)
    assert all(torch.equal(delivered[name], expected[name]) for name in expected)


def test_epochs_before_the_average_do_not_count_as_the_best(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(average={"kind": "swa", "start": 0.75}, epochs=4)
    trained(trainer, until=3 * trainer.steps_per_epoch)
    assert trainer.state().facts["best_epoch"] == 0
    trained(trainer)
    assert trainer.load_best()[0] == 4


def test_statistics_are_measured_for_the_averaged_weights(
    make_trainer: MakeTrainer, few_digits: Dataset
) -> None:
    trainer = make_trainer(average="ema", keep="last", validation_fraction=0.0)
    trained(trainer)
    live = weights_of(trainer.model)["one.1.running_var"].clone()
    trainer.load_best()
    norm = trainer.model.get_submodule("one.1")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.num_batches_tracked == len(few_digits.x_train) // STATISTICS_BATCH
    assert not torch.equal(norm.get_buffer("running_var"), live)
    # As if measured by hand, on the same images in one batch.
    twin = copy.deepcopy(trainer.model)
    draw = torch.Generator().manual_seed(0)
    order = torch.randperm(len(few_digits.x_train), generator=draw)[:STATISTICS_BATCH]
    first = twin.get_submodule("one.0")
    with torch.no_grad():
        activations = first(few_digits.inputs()(trainer.batches.images[order]))
    expected = activations.var(dim=(0, 2, 3))
    torch.testing.assert_close(norm.get_buffer("running_var"), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("asked", KINDS, ids=str)
def test_resumed_training_is_bit_equal(make_trainer: MakeTrainer, asked: Any) -> None:
    whole = make_trainer(average=asked)
    trained(whole)
    one = whole.state()
    ends = {name: tensor.clone() for name, tensor in one.tensors.items()}
    best = whole.load_best()
    for step in (1, 9, 15, 16):
        first, second = make_trainer(average=asked), make_trainer(average=asked)
        trained(first, until=step)
        second.restore(first.state())
        trained(second)
        other = second.state()
        assert one.facts["averaged"] == other.facts["averaged"]
        assert ends.keys() == other.tensors.keys()
        for name, tensor in ends.items():
            assert torch.equal(tensor, other.tensors[name]), name
        assert second.load_best() == best


def shared_trainer(few_digits: Dataset, method: str, **options: Any) -> Trainer:
    architecture: Any = {"name": "resnet-14", "input_channels": 1, "input_size": 8}
    options_of = {"coefficients": "shared", "bins": 2} if method == "superweights" else {}
    plan = npas.plan(
        npas.spec.ArchitectureSpec.model_validate(architecture),
        budget={"fraction": 0.4},
        method=method,
        **options_of,
    )
    model = npas.share(npas.build(plan.networks[0].architecture, seed=0), plan)
    fields = {"epochs": 3, "batch_size": 32, "learning_rate": 0.05, "average": "ema"} | options
    spec = TrainingSpec.model_validate(fields)
    return Trainer(model, few_digits, spec, inputs=few_digits.inputs(), seed=0)


@pytest.mark.parametrize("method", ["superweights", "ssn", "random"])
def test_banks_are_averaged_once_and_composed_anew(few_digits: Dataset, method: str) -> None:
    trainer = shared_trainer(few_digits, method)
    steps = trained(trainer)
    expected = by_hand(steps, AveragingSpec(kind="ema"), 0)
    model = trainer.model
    assert isinstance(model, SharedModel)
    assert sum(each.numel() for each in average(trainer).values()) == model.plan.ledger.total
    trainer.load_best()
    fresh = npas.share(npas.build(model.plan.networks[0].architecture, seed=3), model.plan)
    fresh.load_state_dict(model.state_dict())
    inputs = few_digits.inputs()(few_digits.x_test)
    with torch.no_grad():
        assert torch.equal(model.eval()(inputs), fresh.eval()(inputs))
    last = make_last(few_digits, method)
    for name, tensor in average(last).items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-4, atol=1e-6)


def make_last(few_digits: Dataset, method: str) -> Trainer:
    trainer = shared_trainer(few_digits, method, keep="last")
    trained(trainer)
    return trainer


def test_average_goes_on_where_coefficients_part(few_digits: Dataset) -> None:
    trainer = shared_trainer(few_digits, "superweights")
    trained(trainer, until=7)
    model = trainer.model
    assert isinstance(model, SharedModel)
    before = {name: each.clone() for name, each in average(trainer).items()}
    untied = untie(model, separated(model.plan))
    assert untied.rows
    trainer.adopt(untied.model, untied.rows)
    for name, tensor in average(trainer).items():
        rows = untied.rows.get(name)
        assert torch.equal(tensor, before[name] if rows is None else before[name][rows]), name
    trained(trainer)
    assert trainer.state().facts["averaged"] == trainer.total_steps


def test_without_an_average_a_state_is_as_ever(make_trainer: MakeTrainer) -> None:
    state = make_trainer(epochs=1).state()
    assert "averaged" not in state.facts
    assert not [name for name in state.tensors if name.startswith("average/")]


def test_what_cannot_be_averaged_is_refused() -> None:
    with pytest.raises(ValidationError, match='decay is of "ema"'):
        AveragingSpec.model_validate({"kind": "swa", "decay": 0.9})
    with pytest.raises(ValidationError, match="'ema' or 'swa'"):
        TrainingSpec.model_validate({"average": "mean"})
    assert TrainingSpec.model_validate({"average": "swa"}).average == AveragingSpec(
        kind="swa", start=0.75
    )
