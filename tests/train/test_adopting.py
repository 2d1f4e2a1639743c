"""A trainer that goes on with another model: what it remembers goes with it, row by row."""

import copy
from typing import Any

import npas
import pytest
import torch
from npas.data import Dataset
from npas.sharing.model import SharedModel
from npas.sharing.untying import separated, untie
from npas.spec import TrainingSpec
from npas.train import Command, Trainer


def shared_trainer(few_digits: Dataset, **options: Any) -> Trainer:
    architecture: Any = {"name": "resnet-14", "input_channels": 1, "input_size": 8}
    plan = npas.plan(
        npas.spec.ArchitectureSpec.model_validate(architecture),
        budget={"fraction": 0.4},
        method="superweights",
        coefficients="shared",
        bins=2,
    )
    model = npas.share(npas.build(plan.networks[0].architecture, seed=0), plan)
    spec = TrainingSpec.model_validate(
        {"epochs": 3, "batch_size": 32, "learning_rate": 0.05} | options
    )
    return Trainer(model, few_digits, spec, inputs=few_digits.inputs(), seed=0)


def run_on(trainer: Trainer, until: int | None = None) -> None:
    command = trainer.train(
        after_step=lambda: Command.CONTINUE, after_epoch=lambda _: None, until=until
    )
    assert command is Command.CONTINUE


def tensors(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.state().tensors.items()}


def test_train_until_a_step_and_on_is_the_same_as_at_once(few_digits: Dataset) -> None:
    whole, halved = shared_trainer(few_digits), shared_trainer(few_digits)
    run_on(whole)
    run_on(halved, until=7)
    assert halved.step == 7
    run_on(halved)
    assert halved.step == whole.step
    found, wanted = tensors(halved), tensors(whole)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_adopting_a_copy_changes_nothing(few_digits: Dataset, optimizer: str) -> None:
    changes = {} if optimizer == "sgd" else {"optimizer": optimizer, "learning_rate": 0.001}
    whole, moved = (shared_trainer(few_digits, **changes) for _ in range(2))
    run_on(whole)
    run_on(moved, until=6)
    moved.adopt(copy.deepcopy(moved.model), {})
    run_on(moved)
    found, wanted = tensors(moved), tensors(whole)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_rows_go_on_with_the_memory_of_the_row_they_come_from(
    few_digits: Dataset, optimizer: str
) -> None:
    changes = {} if optimizer == "sgd" else {"optimizer": optimizer, "learning_rate": 0.001}
    trainer = shared_trainer(few_digits, **changes)
    run_on(trainer, until=6)  # past the first epoch: there are best weights too
    model = trainer.model
    assert isinstance(model, SharedModel)
    before = tensors(trainer)
    untied = untie(model, separated(model.plan))
    assert untied.rows

    trainer.adopt(untied.model, untied.rows)

    after = tensors(trainer)
    assert after.keys() == before.keys()
    assert any(name.startswith("best/") for name in after)
    assert any(name.startswith("optimizer/") for name in after)
    for place, tensor in after.items():
        name = next((n for n in untied.rows if place.endswith(f"/{n}")), None)
        is_whole = name is None or tensor.dim() == 0
        wanted = before[place] if is_whole or name is None else before[place][untied.rows[name]]
        assert torch.equal(tensor, wanted)
    run_on(trainer)
    assert trainer.step == trainer.total_steps


def test_every_parameter_is_in_the_optimiser_once(few_digits: Dataset) -> None:
    trainer = shared_trainer(few_digits)
    run_on(trainer, until=2)
    model = trainer.model
    assert isinstance(model, SharedModel)
    untied = untie(model, separated(model.plan))

    trainer.adopt(untied.model, untied.rows)

    held = [p for group in trainer.optimizer.param_groups for p in group["params"]]
    assert len({id(p) for p in held}) == len(held)
    assert {id(p) for p in held} == {id(p) for p in untied.model.parameters()}
    still = [
        p for g in trainer.optimizer.param_groups if not g["weight_decay"] for p in g["params"]
    ]
    own = [p for name, p in untied.model.named_parameters() if "coefficients" in name]
    assert {id(p) for p in own} <= {id(p) for p in still}
    assert len(own) > 0
