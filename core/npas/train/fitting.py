"""fit(): train a network of the user's own, sharing or not, on data of their own.

The optimiser, the schedule, the split and the choice of the best epoch are those of a job.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from npas import seeds
from npas.arch.own.refusal import uninitialised
from npas.arch.own.tensors import held
from npas.errors import DataError, InvalidSpecError, NonFiniteLossError
from npas.spec import EnsembleSpec, TrainingSpec
from npas.spec.validation import first_of
from npas.train.accumulation import accumulate
from npas.train.adjustments import UNCHANGED, Adjustments
from npas.train.augment import Augmentation
from npas.train.balance import class_weights
from npas.train.batches import split
from npas.train.epoch import BestWeights, EpochSums
from npas.train.examples import Batch, Chosen, Examples, examples
from npas.train.optimizer import optimizer, take_step
from npas.train.outputs import Answers, Loss
from npas.train.repeatable import precision, reproducible
from npas.train.schedule import learning_rate


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


def fit(
    model: nn.Module,
    train: object,
    test: object = None,
    *,
    validation: object = None,
    loss: Loss | None = None,
    progress: Callable[[Epoch], object] | None = None,
    seed: int = 0,
    micro_batches: int = 1,
    **options: Any,
) -> Fit:
    """Train a network in place, on the device where it is.

    Args:
        model: any module, such as one from `npas.share`; it has the best epoch's weights
            afterwards, and is in evaluation mode.
        train: `(x, y)` of tensors or arrays, x perhaps a tuple or dict of inputs; a dataset of
            such pairs; or a DataLoader, whose batches are taken as they come. A batch may also be
            a dict with "labels" beside the inputs.
        test: likewise; graded once, at the end.
        validation: likewise, to choose the best epoch by; None: a part of `train`, see
            validation_fraction, unless that is a DataLoader.
        loss: of what the module returns and the labels, one number; None: cross-entropy.
        progress: gets the row of each epoch.
        seed: of everything random: the same seed, the same training, on one device.
        micro_batches: parts in which the gradient of each batch is computed, to save memory.
        **options: of `TrainingSpec`, such as epochs, batch_size, learning_rate, weight_decay.

    Returns:
        the rows of all epochs, and the scores of the test.

    Raises:
        DataError: the examples are not of such a form, or their labels are no classes.
        InvalidSpecError: an option that is not allowed, or that does not suit the data.
        NonFiniteLossError: the loss stopped being a number.

    Example:
        >>> import npas, torch
        >>> x, y = torch.randn(64, 8), torch.arange(64) % 2
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 2))
        >>> len(npas.fit(net, (x, y), epochs=2).rows)
        2
    """
    spec = _spec(options)
    parts = Adjustments(micro_batches=micro_batches) if micro_batches != 1 else UNCHANGED
    where = _device(model)
    learned, held_out = _parts(train, validation, spec, seed)
    graded = None if test is None else examples(test, "test")
    answers = Answers(
        loss=loss,
        smoothing=spec.label_smoothing,
        precision=precision(spec, where),
        class_weights=_class_weights(spec, learned, loss, where),
    )
    fitting = _Fitting(model, learned, held_out, answers, spec, parts=parts, seed=seed)
    with reproducible(where):
        rows, best = fitting.run(progress)
        model.eval()
        score = None if graded is None else fitting.grade(graded)
    return Fit(
        rows=rows,
        best_epoch=best,
        test_loss=score and score[0],
        test_accuracy=score and score[1],
    )


def _spec(options: dict[str, Any]) -> TrainingSpec:
    try:
        spec = TrainingSpec.model_validate(options)
    except ValidationError as error:
        found = first_of(error, options, within="/training")
        raise InvalidSpecError(
            f"option {found.pointer.rpartition('/')[2]} of fit: {found.message} (options: "
            f"{', '.join(TrainingSpec.model_fields)})",
            field=found.pointer,
        ) from error
    for name in ("distillation", "ensemble"):
        if getattr(spec, name) not in (None, EnsembleSpec()):
            raise InvalidSpecError(f"{name} is for jobs: leave it out", field=f"/training/{name}")
    return spec


def _device(model: object) -> torch.device:
    if not isinstance(model, nn.Module):
        raise InvalidSpecError(f"a {type(model).__name__} cannot be trained: give a module")
    if lazy := uninitialised(model):
        raise InvalidSpecError(f"{lazy[0]} is of a lazy layer: run the module once before")
    trained = [each for each in model.parameters() if each.requires_grad]
    if not trained:
        raise InvalidSpecError("the module has no parameter that is trained")
    return trained[0].device


def _parts(
    train: object, validation: object, spec: TrainingSpec, seed: int
) -> tuple[Examples, Examples | None]:
    """Return the examples to train on, and those to choose the best epoch by."""
    learned = examples(train, "train")
    if validation is not None:
        return learned, examples(validation, "validation")
    if not isinstance(learned, Chosen) or not spec.validation_fraction:
        return learned, None
    training, held_out = split(len(learned), spec.validation_fraction, seed=seed)
    if len(training) < 2:
        raise DataError(f"train has {len(learned)} examples, too few to hold some out; give more")
    return learned.of(training), learned.of(held_out)


def _class_weights(
    spec: TrainingSpec, learned: Examples, loss: Loss | None, where: torch.device
) -> Tensor | None:
    if spec.balance == "none":
        return None
    labels = learned.labels if isinstance(learned, Chosen) else None
    is_fit = labels is not None and labels.dim() == 1 and not labels.is_floating_point()
    if labels is None or not is_fit or loss is not None:
        raise InvalidSpecError(
            "balance weighs the classes of (x, y) in the cross-entropy: leave it out here",
            field="/training/balance",
        )
    weights = class_weights(spec, labels.long(), int(labels.max()) + 1)
    return None if weights is None else weights.to(where)


class _Fitting:
    """The loop, and what it needs."""

    def __init__(
        self,
        model: nn.Module,
        learned: Examples,
        held_out: Examples | None,
        answers: Answers,
        spec: TrainingSpec,
        *,
        parts: Adjustments,
        seed: int,
    ) -> None:
        self.model, self.learned, self.held_out = model, learned, held_out
        self.answers, self.spec = answers, spec
        self.parts, self.seed = parts, seed
        self.device = _device(model)
        self.optimizer = optimizer(model, spec)
        self.steps = learned.num_batches(spec.batch_size)

    def run(self, progress: Callable[[Epoch], object] | None) -> tuple[tuple[Epoch, ...], int]:
        """Return the rows, and the epoch whose weights the model has."""
        rows: list[Epoch] = []
        best, best_score = BestWeights(), -math.inf
        for number in range(self.spec.epochs):
            rows.append(self._epoch(number))
            score = _score(rows[-1])
            if self.spec.keep == "best" and score is not None and score >= best_score:
                tensors = {each.name: each.tensor.detach().clone() for each in held(self.model)}
                best, best_score = BestWeights(epoch=number + 1, tensors=tensors), score
            if progress is not None:
                progress(rows[-1])
        if best.tensors:
            with torch.no_grad():
                for each in held(self.model):
                    each.tensor.copy_(best.tensors[each.name])
        return tuple(rows), best.epoch or self.spec.epochs

    def _epoch(self, number: int) -> Epoch:
        started, sums = time.perf_counter(), EpochSums(self.device)
        torch.manual_seed(seeds.number("epoch", "fit", self.seed, number))  # loaders draw from it
        index = 0
        for batch in self.learned.epoch(self.spec.batch_size, self.seed, number):
            self._step(self._augmented(batch.to(self.device), number, index), number, index, sums)
            index += 1
        if not index:
            raise DataError("train gave no batch in an epoch; a generator can be read only once")
        loss, accuracy = _means(sums)
        self._check(loss)
        score = (None, None) if self.held_out is None else self.grade(self.held_out)
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
        torch.manual_seed(seeds.number("step", "fit", self.seed, epoch, index))  # for dropout
        place = epoch * self.steps + min(index, self.steps - 1)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.spec, place, steps_per_epoch=self.steps)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        parts = self.parts.parts(len(batch))
        found = accumulate(self.answers, self.model, batch.inputs, batch.labels, parts=parts)
        take_step(self.optimizer, self.model)
        sums.add(len(batch), *found)

    def _augmented(self, batch: Batch, epoch: int, index: int) -> Batch:
        """Return a batch of images with what may happen to them; without options, nothing does."""
        padding, flip = (
            0 if value == "auto" else value for value in (self.spec.crop_padding, self.spec.flip)
        )
        if not (padding or flip or self.spec.cutout):
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
            cutout=self.spec.cutout,
            fill=(0,) * images.shape[1],
        )
        draw = seeds.generator("augment", "fit", self.seed, epoch, index)
        inputs = {name: change(images, draw) for name in batch.inputs}
        return Batch(inputs=inputs, labels=batch.labels)

    def grade(self, some: Examples) -> tuple[float, float | None]:
        """Return mean loss and accuracy in evaluation mode; the mode comes back."""
        sums, was_training = EpochSums(self.device), self.model.training
        self.model.eval()
        with torch.no_grad():
            for batch in some.epoch(self.parts.images_at_once):
                there = batch.to(self.device)
                sums.add(len(batch), *self.answers(self.model, there.inputs, there.labels))
        self.model.train(was_training)
        loss, accuracy = _means(sums)
        self._check(loss)
        return loss, accuracy

    def _check(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                f"the loss is {loss}: lower learning_rate (it is {self.spec.learning_rate:g}), "
                "add warmup_epochs, or look for NaN in the data",
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
