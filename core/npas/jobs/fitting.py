"""fit(): train a network of the user's own, sharing or not, on data of their own, as a job would.

See `npas.train.fitting` for the loop.
"""

import contextlib
import operator
from collections.abc import Callable, Iterator
from typing import Any, SupportsIndex

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from npas.arch.own.refusal import uninitialised
from npas.delivery.coded.coder import Coder
from npas.errors import DataError, InvalidSpecError
from npas.sharing.model import SharedModel
from npas.spec import DistillationSpec, EnsembleSpec, TrainingSpec
from npas.spec.validation import first_of
from npas.train.adjustments import Adjustments
from npas.train.balance import class_weights
from npas.train.batches import split
from npas.train.examples import Chosen, Examples, examples
from npas.train.fitting import Epoch, Fit, Fitting, Setting
from npas.train.outputs import Answers, Loss
from npas.train.repeatable import precision, reproducible
from npas.train.rounding import Rounding


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
    teacher: nn.Module | None = None,
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
        teacher: a trained module that reads the same inputs, on the same device, whose classes
            are learned beside the labels; it is left as it is. How: option `distillation`, such as
            {"temperature": 4, "weight": 0.9}.
        **options: of `TrainingSpec`, such as epochs, batch_size, learning_rate, weight_decay.

    A network whose plan is of a budget in bytes is trained with rounded weights in the last part,
    as by a job; its grades are of rounded weights, and `npas.save(model, path, bytes=...)` rounds
    it as it was trained.

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
    spec = _spec(options, teacher)
    _check_functions(loss, progress)
    where = _device(model)
    setting = Setting(
        spec=spec,
        seed=_whole_number("seed", seed),
        device=where,
        adjustments=Adjustments(micro_batches=_whole_number("micro_batches", micro_batches)),
        rounding=_rounding(model, spec),
    )
    learned, held_out = _parts(train, validation, spec, setting.seed)
    graded = None if test is None else examples(test, "test")
    answers = Answers(
        loss=loss,
        smoothing=spec.label_smoothing,
        precision=precision(spec, where),
        class_weights=_class_weights(spec, learned, loss, where),
        teacher=_teacher(teacher, model, loss),
        distillation=spec.distillation or DistillationSpec(),
        are_mixed=_are_mixed(spec, loss),
    )
    fitting = Fitting(model, learned, held_out, answers, setting)
    with reproducible(), _evaluating(teacher):
        rows, best = fitting.run(progress)
        model.eval()
        score = None if graded is None else fitting.grade(graded, spec.epochs)
    if setting.rounding is not None and isinstance(model, SharedModel):
        model.origin.squares = setting.rounding.squares()
    return Fit(
        rows=rows,
        best_epoch=best,
        test_loss=score and score[0],
        test_accuracy=score and score[1],
    )


def _spec(options: dict[str, Any], teacher: object) -> TrainingSpec:
    try:
        spec = TrainingSpec.model_validate(options)
    except ValidationError as error:
        found = first_of(error, options, within="/training")
        raise InvalidSpecError(
            f"option {found.pointer.rpartition('/')[2]} of fit: {found.message} (options: "
            f"{', '.join(TrainingSpec.model_fields)})",
            field=found.pointer,
        ) from error
    if spec.ensemble != EnsembleSpec():
        raise InvalidSpecError("ensemble is for jobs: leave it out", field="/training/ensemble")
    if spec.augment != "none":
        raise InvalidSpecError(
            f"augment {spec.augment!r} changes bytes, which only a job's images are: "
            'give augment="none"',
            field="/training/augment",
        )
    if spec.test_size is not None:
        raise InvalidSpecError(
            "test_size is for jobs: leave it out, and give validation and test of that size",
            field="/training/test_size",
        )
    if spec.distillation is None:
        return spec
    if teacher is None or "teacher" in spec.distillation.model_fields_set:
        raise InvalidSpecError(
            "distillation names a teacher that a job trains or reads; here give teacher=module, "
            'and of distillation the rest, such as {"temperature": 4, "weight": 0.9}',
            field="/training/distillation",
        )
    return spec


def _check_functions(loss: object, progress: object) -> None:
    if loss is not None and not callable(loss):
        raise InvalidSpecError(
            f"loss is a {type(loss).__name__}: give a function of what the module returns and the "
            "labels, such as torch.nn.functional.mse_loss"
        )
    if progress is not None and not callable(progress):
        raise InvalidSpecError(
            f"progress is a {type(progress).__name__}: give a function of an epoch's row, such as "
            "print"
        )


def _whole_number(name: str, given: object) -> int:
    if isinstance(given, bool) or not isinstance(given, SupportsIndex):
        raise InvalidSpecError(f"{name} is {given!r}: give a whole number")
    return operator.index(given)


def _rounding(model: nn.Module, spec: TrainingSpec) -> Rounding | None:
    """Return what rounds the weights of a network that is planned for a file of so many bytes."""
    if not isinstance(model, SharedModel) or not model.plan.file or not model.plan.file.step:
        return None
    return Rounding(Coder(model.plan, model.plan.file.bytes), epochs=spec.epochs)


def _teacher(teacher: object, model: nn.Module, loss: Loss | None) -> nn.Module | None:
    if teacher is None:
        return None
    if not isinstance(teacher, nn.Module):
        raise InvalidSpecError(f"teacher is a {type(teacher).__name__}: give a trained module")
    if loss is not None:
        raise InvalidSpecError(
            "a teacher says how likely classes are: leave out loss, which is then cross-entropy"
        )
    own = {id(each) for each in model.parameters()}
    if any(id(each) in own for each in teacher.parameters()):
        raise InvalidSpecError(
            "the teacher has parameters of the module that is trained: give a copy of it, such as "
            "copy.deepcopy(module) before it is shared"
        )
    return teacher


@contextlib.contextmanager
def _evaluating(teacher: nn.Module | None) -> Iterator[None]:
    """Have a teacher in evaluation mode for a while; the modes of its modules come back."""
    modes = {module: module.training for module in teacher.modules()} if teacher else {}
    try:
        if teacher is not None:
            teacher.eval()
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _device(model: object) -> torch.device:
    if not isinstance(model, nn.Module):
        raise InvalidSpecError(f"a {type(model).__name__} cannot be trained: give a module")
    if lazy := uninitialised(model):
        raise InvalidSpecError(f"{lazy[0]} is of a lazy layer: run the module once before")
    trained = [each for each in model.parameters() if each.requires_grad]
    if not trained:
        raise InvalidSpecError("the module has no parameter that is trained")
    if trained[0].is_meta:
        raise InvalidSpecError("the module is on the meta device, and has no numbers to train")
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


def _are_mixed(spec: TrainingSpec, loss: Loss | None) -> bool:
    """Return whether labels are mixed, which cross-entropy alone understands."""
    is_wanted = spec.mixup > 0 or spec.cutmix > 0
    if is_wanted and loss is not None:
        raise InvalidSpecError(
            "mixup and cutmix mix the labels of classes: leave them out, or leave out loss, which "
            "is then cross-entropy",
            field="/training/mixup" if spec.mixup else "/training/cutmix",
        )
    return is_wanted


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
    if bool((labels < 0).any()):
        raise DataError(
            f"balance counts classes, and a label is {int(labels.min())}: give labels from 0, or "
            "leave balance out"
        )
    weights = class_weights(spec, labels.long(), int(labels.max()) + 1)
    return None if weights is None else weights.to(where)
