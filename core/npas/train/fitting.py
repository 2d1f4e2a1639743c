"""The loop of `npas.fit`: a network of the user's own, sharing or not, on data of their own.

The optimiser, the schedule, the split and the choice of the best epoch are those of a job.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from npas import seeds
from npas.arch.own.tensors import held
from npas.errors import DataError, InvalidSpecError, NonFiniteLossError
from npas.spec import TrainingSpec
from npas.train.adjustments import Adjustments
from npas.train.augment import CHANGES, Augmentation
from npas.train.averaging import STATISTICS_BATCH, STATISTICS_IMAGES, average_of
from npas.train.epoch import BestWeights, EpochSums
from npas.train.examples import Batch, Examples
from npas.train.finite import Finiteness
from npas.train.mixing import mixing
from npas.train.optimizer import optimizer, rate_of
from npas.train.outputs import Answers, outputs_of
from npas.train.recalibration import measure, norms_of
from npas.train.rounding import Rounding, grading, measuring
from npas.train.schedule import learning_rate
from npas.train.update import update


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """What one epoch did.

    Attributes:
        epoch: from 1.
        train_loss: mean over examples, while the weights changed.
        train_accuracy: 0 to 1, likewise; None where an answer is not right or wrong. Of inputs
            that are mixed, an answer is right that names the class with the largest share.
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
        self.steps = learned.num_batches(setting.spec.batch_size)
        self.average = average_of(setting.spec, steps_per_epoch=self.steps)
        self._finiteness = Finiteness(model, _weights(self.model))

    def run(self, progress: Callable[[Epoch], object] | None) -> tuple[tuple[Epoch, ...], int]:
        """Return the rows, and the epoch whose weights the model has."""
        rows: list[Epoch] = []
        best = BestWeights()
        for number in range(self.setting.spec.epochs):
            row, graded = self._epoch(number)
            rows.append(row)
            score = _score(row)
            if score is not None and self._may_be_best(number + 1, graded):
                best.offer(number + 1, score, _weights(graded))
            if progress is not None:
                progress(row)
        if best.tensors:
            self._put(best.tensors)
        elif (delivered := self._delivered(self.setting.spec.epochs)) is not self.model:
            self._put(_weights(delivered))
        return tuple(rows), best.epoch or self.setting.spec.epochs

    def _may_be_best(self, epoch: int, graded: nn.Module) -> bool:
        rounding = self.setting.rounding
        is_as_delivered = rounding is None or rounding.is_full(epoch)
        is_averaged = self.average is None or graded is not self.model
        return self.setting.spec.keep == "best" and is_as_delivered and is_averaged

    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, tensor in _weights(self.model).items():
                tensor.copy_(tensors[name])

    def _delivered(self, epoch: int) -> nn.Module:
        """Return the module as it would be delivered after an epoch, see `npas.train.Trainer`.

        Statistics of its normalisations are measured on examples in a new order.
        """
        averaged = None if self.average is None else self.average.model
        if averaged is None:
            return self.model
        if norms_of(averaged):
            at_once = min(STATISTICS_BATCH, self.setting.adjustments.images_at_once)
            batches = self.learned.epoch(at_once, self.setting.seed, epoch)
            with measuring(self.setting.rounding, averaged, epoch):
                measure(averaged, _some(batches), lambda each: self._outputs(averaged, each))
        return averaged

    def _outputs(self, model: nn.Module, batch: Batch) -> object:
        return outputs_of(model, batch.to(self.setting.device).inputs)

    def _epoch(self, number: int) -> tuple[Epoch, nn.Module]:
        """Return the row of an epoch, and the module that it graded."""
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
        graded = self.model
        score: tuple[float | None, float | None] = (None, None)
        if self.held_out is not None:
            graded = self._delivered(number + 1)
            score = self.grade(self.held_out, number + 1, graded)
        row = Epoch(
            epoch=number + 1,
            train_loss=loss,
            train_accuracy=accuracy,
            validation_loss=score[0],
            validation_accuracy=score[1],
            learning_rate=rate_of(self.optimizer),
            seconds=time.perf_counter() - started,
        )
        return row, graded

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
            clip_norm=self.setting.spec.clip_norm,
        )
        sums.add(len(batch), *found)
        if self.average is not None:
            self.average.add(self.model, place + 1)

    def _augmented(self, batch: Batch, epoch: int, index: int) -> Batch:
        """Return a batch of images with what may happen to them; without options, nothing does."""
        spec = self.setting.spec
        asked = [name for name in CHANGES if getattr(spec, name) not in ("auto", "none", 0, False)]
        if not asked:
            return batch
        ((name, images), *others), labels = batch.inputs.items(), batch.labels
        if others or images.dim() != 4 or labels.dim() > 1:
            raise InvalidSpecError(
                f"{', '.join(asked)}: these are for one input of images (N, C, H, W) with one "
                "label each: leave them out"
            )
        change = Augmentation(
            crop_padding=0 if spec.crop_padding == "auto" else spec.crop_padding,
            flip=False if spec.flip == "auto" else spec.flip,
            cutout=spec.cutout,
            fill=(0,) * images.shape[1],
            random_erasing=spec.random_erasing,
        )
        draw = seeds.generator("augment", "fit", self.setting.seed, epoch, index)
        images = change(images, draw)
        if (mix := mixing(spec)) is not None:
            if labels.is_floating_point() or bool((labels < 0).any()):
                raise InvalidSpecError(
                    "mixup and cutmix are for classes, labels from 0: leave them out"
                )
            draw = seeds.generator("mixing", "fit", self.setting.seed, epoch, index)
            images, labels = mix(images, labels, -1, draw)
        return Batch(inputs={name: images}, labels=labels)

    def grade(
        self, some: Examples, epoch: int, model: nn.Module | None = None
    ) -> tuple[float, float | None]:
        """Return mean loss of the labels and accuracy in evaluation mode; the mode comes back.

        Args:
            some: examples.
            epoch: that is over, from 1: weights are graded as they would be delivered after it.
            model: to grade; None: the one that is trained.
        """
        graded = self.model if model is None else model
        sums, was_training = EpochSums(self.setting.device), graded.training
        answers = replace(self.answers, teacher=None, are_mixed=False)
        graded.eval()
        with grading(self.setting.rounding, graded, epoch), torch.no_grad():
            for batch in some.epoch(self.setting.adjustments.images_at_once):
                there = batch.to(self.setting.device)
                sums.add(len(batch), *answers(graded, there.inputs, there.labels))
        graded.train(was_training)
        loss, accuracy = _means(sums)
        self._check(loss)
        return loss, accuracy

    def _check(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss}")

    def _check_weights(self) -> None:
        """Check what the last step of an epoch left: its loss was of the weights before it."""
        spoiled = self._finiteness.spoiled(_weights(self.model))
        if spoiled:
            raise self._diverged(f"{spoiled[0]} became infinite or NaN")

    def _diverged(self, what: str) -> NonFiniteLossError:
        rate = self.setting.spec.learning_rate
        return NonFiniteLossError(
            f"{what}: lower learning_rate (it is {rate:g}), add warmup_epochs, or look for NaN in "
            "the data",
            field="/training/learning_rate",
        )


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {each.name: each.tensor for each in held(model)}


def _some(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield batches until there are enough examples to measure statistics with."""
    count = 0
    for batch in batches:
        if count >= STATISTICS_IMAGES:
            break
        count += len(batch)
        yield batch


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
