"""Trains one model on one dataset, one optimiser step at a time; can be put to file after any."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict

import torch
from torch import Tensor, nn

from npas import seeds
from npas.data import Dataset, Inputs
from npas.errors import CheckpointError, NonFiniteLossError
from npas.spec import TrainingSpec
from npas.train.adjustments import UNCHANGED, Adjustments
from npas.train.averaging import average_of, measure_statistics
from npas.train.balance import check_balance, class_weights
from npas.train.batches import Batches
from npas.train.commands import Command
from npas.train.epoch import BestWeights, EpochSums, Row
from npas.train.evaluate import evaluate
from npas.train.finite import Finiteness, not_finite
from npas.train.objective import Objective, Penalty
from npas.train.optimizer import (
    load_optimizer_state,
    optimizer,
    optimizer_state,
    rate_of,
)
from npas.train.repeatable import precision, reproducible
from npas.train.rounding import Rounding, grading, measuring
from npas.train.schedule import learning_rate
from npas.train.setting import TrainerSetting
from npas.train.sizes import graded_inputs
from npas.train.state import State
from npas.train.steps import Steps
from npas.train.teacher import Teacher
from npas.train.update import update
from npas.train.weights import put_into, under, weights_of

_STEPS_PER_LOSS_CHECK = 16  # looking at the loss waits for a GPU; a NaN never goes away again


class Trainer:
    """Trains a model in place.

    Two trainers made from equal arguments on one CPU do the same, bit for bit, however often one
    of them is put to file and resumed.

    Attributes:
        model: that is trained.
        optimizer: over its parameters.
        batches: of the dataset.
        objective: what a step minimises.
        rows: of the epochs done.
        step: optimiser steps done.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: Dataset,
        spec: TrainingSpec,
        *,
        inputs: Inputs,
        seed: int,
        stage: str = "train",
        device: torch.device | str = "cpu",
        penalty: Penalty | None = None,
        teacher: Teacher | None = None,
        adjustments: Adjustments = UNCHANGED,
        rounding: Rounding | None = None,
    ) -> None:
        """Prepare; nothing is trained yet.

        Args:
            model: has `members(x)` and `network_names`, or is a plain classifier; on the device.
            dataset: its test split is never touched.
            spec: how to train.
            inputs: turns bytes into the network's inputs.
            seed: of everything random.
            stage: goes into the rows and into what is random.
            device: where the model is.
            penalty: added to the loss.
            teacher: of the spec's distillation; on the device.
            adjustments: what is done otherwise than the spec says; a state that is restored may
                have been made under others.
            rounding: of the weights, from some epoch on: grades, and the best epoch, are of
                rounded weights, and no epoch before counts as the best.
        """
        where = torch.device(device)
        check_balance(spec, dataset.task)
        self.model, self.optimizer = model, optimizer(model, spec)
        self.batches = Batches(dataset, spec, seed=seed, stage=stage, device=where)
        self._setting = TrainerSetting(
            spec=spec,
            seed=seed,
            stage=stage,
            device=where,
            adjustments=adjustments,
            rounding=rounding,
            average=average_of(spec, steps_per_epoch=self.batches.per_epoch),
            finiteness=Finiteness(model, weights_of(model)),
        )
        self.objective = Objective(
            spec=spec,
            inputs=inputs,
            precision=precision(spec, where),
            penalty=penalty,
            teacher=teacher,
            class_weights=class_weights(spec, self.batches.labels, dataset.num_classes),
        )
        self.rows: list[Row] = []
        self.step = 0
        self._steps = Steps(model, dataset, spec, self.batches, seed=seed, stage=stage)
        self._sums = EpochSums(where)
        self._best = BestWeights()

    @property
    def stage(self) -> str:
        """What it trains for, as in the rows."""
        return self._setting.stage

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._setting.device

    @property
    def adjustments(self) -> Adjustments:
        """What is done otherwise than asked."""
        return self._setting.adjustments

    @property
    def rounding(self) -> Rounding | None:
        """What rounds the weights; None: nothing does."""
        return self._setting.rounding

    @property
    def inputs(self) -> Inputs:
        """What turns bytes into the network's inputs."""
        return self.objective.inputs

    @property
    def graded_inputs(self) -> Inputs:
        """What turns bytes into inputs where the network is graded."""
        return graded_inputs(self._setting.spec, self.inputs)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch."""
        return self.batches.per_epoch

    @property
    def total_steps(self) -> int:
        """Optimiser steps of all epochs."""
        return self._setting.spec.epochs * self.steps_per_epoch

    def train(
        self,
        *,
        after_step: Callable[[], Command],
        after_epoch: Callable[[Row], None],
        until: int | None = None,
    ) -> Command:
        """Train to the end, or until asked to stop.

        Args:
            after_step: called between steps, and before the first.
            after_epoch: gets the row of an epoch before the `after_step` that follows.
            until: optimiser steps of this stage to stop after; None: all.

        Returns:
            CONTINUE at the end, else what after_step asked for.

        Raises:
            NonFiniteLossError: the loss, a weight or a statistic is no longer a number.
        """
        last = self.total_steps if until is None else min(until, self.total_steps)
        with reproducible():
            while self.step < last:
                command = Command(after_step())
                if command is not Command.CONTINUE:
                    return command
                self._advance()
                if self.step % self.steps_per_epoch == 0:
                    after_epoch(self._end_epoch())
        return Command.CONTINUE

    def adopt(self, model: nn.Module, rows: Mapping[str, Tensor]) -> None:
        """Go on with a model that computes the same, and keep all that was learned and remembered.

        Args:
            model: has the parameters and buffers of the present one, under the same names.
            rows: for the name of each parameter with other rows, the old row that every new one
                goes on from.
        """

        def carried(name: str, tensor: Tensor) -> Tensor:
            is_same = name not in rows or tensor.dim() == 0  # such as Adam's count of steps
            return tensor if is_same else tensor[rows[name].to(tensor.device)]

        memories = optimizer_state(self.optimizer, self.model)
        self.model, self.optimizer = model, optimizer(model, self._setting.spec)
        places = {place: carried(place.partition("/")[2], t) for place, t in memories.items()}
        load_optimizer_state(self.optimizer, model, places)
        self._best.tensors = {n: carried(n, tensor) for n, tensor in self._best.tensors.items()}
        if (average := self._setting.average) is not None:
            averaged = {n: carried(n, tensor) for n, tensor in average.tensors().items()}
            average.restore(model, averaged, average.count)

    def load_best(self) -> tuple[int, float | None]:
        """Put the weights to deliver into the model: those of the best epoch, or the last ones.

        Returns:
            their epoch, 0 if none was finished, and their validation accuracy.
        """
        if not self._best.tensors:
            if (delivered := self._delivered()) is not self.model:
                put_into(self.model, weights_of(delivered))
            last = self.rows[-1] if self.rows else None
            return (last.epoch, last.validation_accuracy) if last else (0, None)
        put_into(self.model, self._best.tensors)
        return self._best.epoch, self.rows[self._best.epoch - 1].validation_accuracy

    def state(self) -> State:
        """Return everything that `restore` needs to go on from here.

        Raises:
            NonFiniteLossError: some of it is no longer a number: nothing could go on from it.
        """
        memories = optimizer_state(self.optimizer, self.model)
        self._check_weights()
        if not_finite(memories):
            raise self._diverged("what the optimiser remembers")
        rounding, average = self._setting.rounding, self._setting.average
        parts = {
            "model": weights_of(self.model),
            "optimizer": memories,
            "best": self._best.tensors,
            "squares": rounding.tensors() if rounding else {},
            "average": average.tensors() if average else {},
        }
        tensors = {f"{part}/{name}": t for part, each in parts.items() for name, t in each.items()}
        return State(
            tensors={**tensors, "sums": self._sums.sums},
            facts={
                "stage": self.stage,
                "step": self.step,
                "seconds": self._sums.seconds,
                "best_epoch": self._best.epoch,
                "rows": [asdict(row) for row in self.rows],
                **({"rounding": rounding.facts()} if rounding else {}),
                **({"averaged": average.count} if average else {}),
            },
        )

    def restore(self, state: State) -> None:
        """Go back to a state of a trainer that was made with the same arguments.

        Raises:
            CheckpointError: it is a state of another model or stage.
        """
        tensors, facts = state.tensors, state.facts
        if facts["stage"] != self.stage:
            raise CheckpointError(f"this is a state of {facts['stage']}, not of {self.stage}")
        put_into(self.model, under("model/", tensors))
        load_optimizer_state(self.optimizer, self.model, under("optimizer/", tensors))
        self._sums.sums, self._sums.seconds = tensors["sums"].to(self.device), facts["seconds"]
        self.step = facts["step"]
        self.rows = [Row.of(row) for row in facts["rows"]]
        best = {n: t.to(self.device) for n, t in under("best/", tensors).items()}
        self._best = BestWeights(epoch=facts["best_epoch"], tensors=best)
        if best:
            self._best.score = self.rows[self._best.epoch - 1].validation_accuracy or 0.0
        if self.rounding is not None:
            squares = {n: t.to(self.device) for n, t in under("squares/", tensors).items()}
            self.rounding.restore(squares, facts["rounding"])
        if (average := self._setting.average) is not None:
            average.restore(self.model, under("average/", tensors), facts["averaged"])

    def _advance(self) -> None:
        started = time.perf_counter()
        epoch, index = divmod(self.step, self.steps_per_epoch)
        setting = self._setting
        place = (setting.seed, self.stage, epoch, index)
        torch.manual_seed(seeds.number("step", *place))  # dropout draws from here
        step = self._steps.get(epoch, index)
        rate = learning_rate(setting.spec, self.step, steps_per_epoch=self.steps_per_epoch)
        loss, hits = update(
            self.model,
            self.optimizer,
            self.objective,
            (step.images, step.labels),
            step.names,
            epoch=epoch + 1,
            rate=rate * self.adjustments.learning_rate_factor,
            parts=self.adjustments.parts(step.size),
            rounding=self.rounding,
            clip_norm=setting.spec.clip_norm,
        )
        self._sums.add(step.size, loss, hits)
        self.step += 1
        if setting.average is not None:
            setting.average.add(self.model, self.step)
        if self.step % _STEPS_PER_LOSS_CHECK == 0:
            self._check_loss()
        self._sums.seconds += time.perf_counter() - started

    def _end_epoch(self) -> Row:
        started = time.perf_counter()
        self._check_weights()
        graded = self._delivered() if len(self.batches.validation[0]) else self.model
        with grading(self.rounding, graded, self.step // self.steps_per_epoch):
            accuracy = self._validate(graded)
        loss, score = self._sums.means()
        row = Row(
            stage=self.stage,
            epoch=self.step // self.steps_per_epoch,
            epochs=self._setting.spec.epochs,
            step=self.step,
            train_loss=loss,
            train_accuracy=score,
            validation_accuracy=accuracy,
            learning_rate=rate_of(self.optimizer),
            seconds=self._sums.seconds + time.perf_counter() - started,
        )
        self._sums.seconds = 0.0
        self.rows.append(row)
        self._keep(row, graded)
        return row

    def _delivered(self) -> nn.Module:
        """Return the model as it would be delivered now: that of the average, once it has begun.

        Its statistics are measured anew, of images as they are graded.
        """
        average = self._setting.average
        model = None if average is None else average.model
        if model is None:
            return self.model
        with measuring(self.rounding, model, self.step // self.steps_per_epoch):
            measure_statistics(
                model,
                self.batches.images,
                self.graded_inputs,
                at_once=self.adjustments.images_at_once,
                seed=self._setting.seed,
            )
        return model

    def _keep(self, row: Row, graded: nn.Module) -> None:
        """Remember the weights of an epoch if they are the best so far, and may be delivered."""
        if self._setting.spec.keep == "last" or row.validation_accuracy is None:
            return
        if self.rounding is not None and not self.rounding.is_full(row.epoch):
            return
        if self._setting.average is not None and graded is self.model:
            return  # the average has not begun
        self._best.offer(row.epoch, row.validation_accuracy, weights_of(graded))

    def _validate(self, model: nn.Module) -> float | None:
        images, labels = self.batches.validation
        if not len(images):
            return None
        return evaluate(
            model,
            images,
            labels,
            inputs=self.graded_inputs,
            batch_size=self.adjustments.images_at_once,
            device=self.device,
            precision=self.objective.precision,
        ).score

    def _check_loss(self) -> None:
        if not torch.isfinite(self._sums.sums[1]).item():
            raise self._diverged("the loss")

    def _check_weights(self) -> None:
        """Check what the last step left behind too: its own loss was of the weights before it."""
        self._check_loss()
        if self._setting.finiteness.spoiled(weights_of(self.model)):
            raise self._diverged("a weight or a statistic")

    def _diverged(self, what: str) -> NonFiniteLossError:
        highest = self._setting.spec.learning_rate * self.adjustments.learning_rate_factor
        return NonFiniteLossError(
            f"{what} stopped being a number by step {self.step} of {self.stage}: lower "
            f"learning_rate (it was {highest:g}) or add warmup_epochs",
            field="/training/learning_rate",
        )
