"""Trains peers: by the trainer of every job, on the same batches, with the same schedule."""

import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import npas.data
import torch
from npas.jobs import devices
from npas.train import Command, Trainer, read, saved, write
from npas.train.evaluate import network_names
from npas.train.objective import Objective
from torch import Tensor, nn

from benchmarks.ensembles.arms import Cell, peer
from benchmarks.ensembles.clock import ProcessorClock
from benchmarks.ensembles.images import loaded
from benchmarks.ensembles.settings import Setting
from benchmarks.ensembles.trained import Trained, asked_together, counted, train_macs
from benchmarks.peers.early_exit import EarlyExit
from benchmarks.peers.fitting import num_parameters
from benchmarks.peers.mimo import Mimo, OwnImages
from benchmarks.runs import Place

_SECONDS_BETWEEN_SAVES = 120
_CURVE = ("stage", "epoch", "train_loss", "train_accuracy", "seconds")


OBJECTIVES: dict[type[nn.Module], type[Objective]] = {Mimo: OwnImages}
"""Of those that the sum of all members' losses on the same images is not right for."""


def trainer_of(
    setting: Setting, cell: Cell, place: Place, device: torch.device
) -> tuple[Trainer, nn.Module]:
    """Return a peer and its trainer, both fresh."""
    dataset = loaded(setting.dataset, place.data)
    facts = npas.data.facts(setting.dataset, place.data)
    model = peer(setting, cell, facts).to(device)
    largest = setting.configurations[cell.configuration].networks[0].architecture
    trainer = Trainer(
        model,
        dataset,
        setting.training,
        inputs=dataset.inputs(input_size=largest.input_size),
        seed=cell.seed,
        device=device,
    )
    kind = OBJECTIVES.get(type(model), Objective)
    trainer.objective = kind(
        **{f.name: getattr(trainer.objective, f.name) for f in fields(Objective)}
    )
    return trainer, model


def trained_by_trainer(
    setting: Setting, cell: Cell, folder: Path, place: Place, stopping: Any
) -> Trained | None:
    """Train a peer, going on where it was paused; None: paused again."""
    device = devices.device(place.device)
    trainer, _ = trainer_of(setting, cell, place, device)
    states = saved(folder / "state")
    if states:
        trainer.restore(read(states[0]))
    clock, last = ProcessorClock(folder / "clock.json"), time.monotonic()

    def after_step() -> Command:
        nonlocal last
        is_stopped = stopping.is_set()
        if is_stopped or time.monotonic() - last > _SECONDS_BETWEEN_SAVES:
            write(trainer.state(), folder / "state", trainer.step)
            last = time.monotonic()
        return Command.PAUSE if is_stopped else Command.CONTINUE

    clock.start()
    command = trainer.train(after_step=after_step, after_epoch=lambda _: None)
    clock.stop()
    if command is not Command.CONTINUE:
        return None
    write(trainer.state(), folder / "state", trainer.step)
    return _trained(setting, trainer, place, clock.seconds)


def _trained(setting: Setting, trainer: Trainer, place: Place, seconds: float) -> Trained:
    model, dataset = trainer.model.cpu(), loaded(setting.dataset, place.data)
    image = trainer.inputs(dataset.x_test[:1])
    seen = len(dataset.y_train) * setting.training.epochs
    names = network_names(model)
    return Trained(
        ask=asked_together(model, inputs=trainer.inputs, device=trainer.device),
        answer=names[-1:] if isinstance(model, EarlyExit) else names,
        macs=member_macs(model, image),
        cost="most" if isinstance(model, Mimo | EarlyExit) else "sum",
        parameters=num_parameters(model),
        train_macs=train_macs(model, image, images=seen, steps=trainer.total_steps),
        seconds=seconds,
        rows=[{key: getattr(row, key) for key in _CURVE} for row in trainer.rows],
    )


def member_macs(model: nn.Module, image: Tensor) -> dict[str, int]:
    """Return the multiply-adds of each member of a peer for one image.

    A part of the whole where the members are alike and apart; the whole where they are one
    network; for exits, all that comes before them.
    """
    names = network_names(model)
    whole, _ = counted(model, image)
    if isinstance(model, EarlyExit):
        return {name: counted(_Until(model, name), image)[0] for name in names}
    each = whole if isinstance(model, Mimo) else whole // len(names)
    return dict.fromkeys(names, each)


class _Until(nn.Module):
    """An early exit as a network."""

    def __init__(self, model: EarlyExit, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name

    def forward(self, x: Tensor) -> Tensor:
        return self.model.until(self.name, x)
