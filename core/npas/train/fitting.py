"""The loop of `npas.fit`: a network of the user's own, sharing or not, on data of their own.

The optimiser, the schedule, the split and the choice of the best epoch are those of a job.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from npas import seeds
from npas.arch.own.tensors import held
from npas.errors import DataError, InvalidSpecError, NonFiniteLossError
from npas.spec import TrainingSpec
from npas.train.adjustments import Adjustments
from npas.train.augment import Augmentation
from npas.train.epoch import BestWeights, EpochSums
from npas.train.examples import Batch, Examples
from npas.train.infinite import infinite_buffers
from npas.train.optimizer import optimizer
from npas.train.outputs import Answers
from npas.train.rounding import Rounding, grading
from npas.train.schedule import learning_rate
from npas.train.update import update


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """What one epoch did.

    Attributes:
        epoch: from 1.
        train_loss: mean over examples, while the weights changed.
        train_accuracy: 0 to 1, likewise; None where an answer is not right or wrong.
        validation_loss: after the epoch; None without examples that are held out.
        validation_accuracy: likewise.
        learning_rate: of the last step.
        seconds: that the epoch took.
    """

    epoch: int
    train_loss: float
    train_accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """What a training came to.

    Attributes:
        rows: one for each epoch.
        best_epoch: whose weights the module has now, from 1.
        test_loss: of these, mean over the test's examples; None without a test.
        test_accuracy: likewise, 0 to 1.
    """

    rows: tuple[Epoch, ...]
    best_epoch: int
    test_loss: float | None
    test_accuracy: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What a training does not change.

    Attributes:
        spec: how to train.
        seed: of everything random.
        device: where the model is.
        adjustments: what is done otherwise than the spec says.
        rounding: of the weights; None: there is none.
    """

    spec: TrainingSpec
    seed: int
    device: torch.device
    adjustments: Adjustments
    rounding: Rounding | None


class Fitting:
    """Trains a module in place; `npas.train.Trainer` is for the datasets of jobs."""

    def __init__(
        self,
        model: nn.Module,
        learned: Examples,
        held_out: Examples | None,
        answers: Answers,
        setting: Setting,
    ) -> None:
        """Prepare; nothing is trained yet.

        Args:
            model: any module.
            learned: examples to train on.
            held_out: to choose the best epoch by; None: the last one counts.
            answers: what is minimised.
            setting: all else.
        """
        self.model, self.learned, self.held_out = model, learned, held_out
        self.answers, self.setting = answers, setting
        self.optimizer = optimizer(model, setting.spec)
        self._infinite = infinite_buffers(model)
        self.steps = learned.num_batches(setting.spec.batch_size)

    def run(self, progress: Callable[[Epoch], object] | None) -> tuple[tuple[Epoch, ...], int]:
        """Return the rows, and the epoch whose weights the model has."""
        rows: list[Epoch] = []
        best = BestWeights()
        for number in range(self.setting.spec.epochs):
            rows.append(self._epoch(number))
            score = _score(rows[-1])
            if score is not None and self._may_be_best(number + 1):
                best.offer(number + 1, score, self._weights())
            if progress is not None:
                progress(rows[-1])
        if best.tensors:
            with torch.no_grad():
                for name, tensor in self._weights().items():
                    tensor.copy_(best.tensors[name])
        return tuple(rows), best.epoch or self.setting.spec.epochs

    def _may_be_best(self, epoch: int) -> bool:
        rounding = self.setting.rounding
        is_as_delivered = rounding is None or rounding.is_full(epoch)
        return self.setting.spec.keep == "best" and is_as_delivered

    def _weights(self) -> dict[str, Tensor]:
        return {each.name: each.tensor for each in held(self.model)}

    def _epoch(self, number: int) -> Epoch:
        started, sums = time.perf_counter(), EpochSums(self.setting.device)
        torch.manual_seed(
            seeds.number("epoch", "fit", self.setting.seed, number)
        )  # loaders draw from it
        index = 0
        for batch in self.learned.epoch(self.setting.spec.batch_size, self.setting.seed, number):
            self._step(
                self._augmented(batch.to(self.setting.device), number, index), number, index, sums
            )
            index += 1
        if not index:
            raise DataError("train gave no batch in an epoch; a generator can be read only once")
        loss, accuracy = _means(sums)
        self._check(loss)
        self._check_weights()
        score = (None, None) if self.held_out is None else self.grade(self.held_out, number + 1)
        return Epoch(
            epoch=number + 1,
            train_loss=loss,
            train_accuracy=accuracy,
            validation_loss=score[0],
            validation_accuracy=score[1],
            learning_rate=self.optimizer.param_groups[0]["lr"],
            seconds=time.perf_counter() - started,
        )

    def _step(self, batch: Batch, epoch: int, index: int, sums: EpochSums) -> None:
        torch.manual_seed(
            seeds.number("step", "fit", self.setting.seed, epoch, index)
        )  # for dropout
        place = epoch * self.steps + min(index, self.steps - 1)
        rate = learning_rate(self.setting.spec, place, steps_per_epoch=self.steps)
        found = update(
            self.model,
            self.optimizer,
            self.answers,
            (batch.inputs, batch.labels),
            epoch=epoch + 1,
            rate=rate,
            parts=self.setting.adjustments.parts(len(batch)),
            rounding=self.setting.rounding,
        )
        sums.add(len(batch), *found)

    def _augmented(self, batch: Batch, epoch: int, index: int) -> Batch:
        """Return a batch of images with what may happen to them; without options, nothing does."""
        padding, flip = (
            0 if value == "auto" else value
            for value in (self.setting.spec.crop_padding, self.setting.spec.flip)
        )
        if not (padding or flip or self.setting.spec.cutout):
            return batch
        images = next(iter(batch.inputs.values()))
        if len(batch.inputs) > 1 or images.dim() != 4 or batch.labels.dim() > 1:
            raise InvalidSpecError(
                "crop_padding, flip and cutout are for one input of images (N, C, H, W) with one "
                "label each: leave them out"
            )
        change = Augmentation(
            crop_padding=int(padding),
            flip=bool(flip),
            cutout=self.setting.spec.cutout,
            fill=(0,) * images.shape[1],
        )
        draw = seeds.generator("augment", "fit", self.setting.seed, epoch, index)
        inputs = {name: change(images, draw) for name in batch.inputs}
        return Batch(inputs=inputs, labels=batch.labels)

    def grade(self, some: Examples, epoch: int) -> tuple[float, float | None]:
        """Return mean loss of the labels and accuracy in evaluation mode; the mode comes back.

        Args:
            some: examples.
            epoch: that is over, from 1: weights are graded as they would be delivered after it.
        """
        sums, was_training = EpochSums(self.setting.device), self.model.training
        answers = replace(self.answers, teacher=None)
        self.model.eval()
        with grading(self.setting.rounding, self.model, epoch), torch.no_grad():
            for batch in some.epoch(self.setting.adjustments.images_at_once):
                there = batch.to(self.setting.device)
                sums.add(len(batch), *answers(self.model, there.inputs, there.labels))
        self.model.train(was_training)
        loss, accuracy = _means(sums)
        self._check(loss)
        return loss, accuracy

    def _check(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss}")

    def _check_weights(self) -> None:
        """Check what the last step of an epoch left: its loss was of the weights before it."""
        for name, tensor in self._weights().items():
            is_checked = tensor.is_floating_point() and name not in self._infinite
            if is_checked and not bool(tensor.isfinite().all()):
                raise self._diverged(f"{name} became infinite or NaN")

    def _diverged(self, what: str) -> NonFiniteLossError:
        rate = self.setting.spec.learning_rate
        return NonFiniteLossError(
            f"{what}: lower learning_rate (it is {rate:g}), add warmup_epochs, or look for NaN in "
            "the data",
            field="/training/learning_rate",
        )


def _means(sums: EpochSums) -> tuple[float, float | None]:
    answers = float(sums.sums[3])
    if not float(sums.sums[0]):
        raise DataError("validation or test gave no batch; a generator can be read only once")
    loss, accuracy = sums.means()
    return loss, accuracy if answers else None


def _score(row: Epoch) -> float | None:
    """Return what the best epoch has the most of: accuracy, or the loss turned round."""
    if row.validation_loss is None:
        return None
    return -row.validation_loss if row.validation_accuracy is None else row.validation_accuracy
