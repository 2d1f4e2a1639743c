"""The average of a model's weights over the steps of its training.

Averaged are the parameters, each once: of a shared network its templates and coefficients, not
the weights that are composed of them, which are another thing where both change. Every statistic
of a batch normalisation is measured anew for the averaged weights, on training images as they
are, before they are graded or delivered. Averaging the statistics themselves would be cheaper and
wrong: the average of weights has smaller activations than any of the weights that went into it,
most of all in swa, and the buffers of a model are no numbers to average where they count or name
rows.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

from npas.data import Inputs, sampled
from npas.errors import CheckpointError, InvalidSpecError
from npas.spec import AveragingSpec, TrainingSpec
from npas.train.evaluate import members
from npas.train.recalibration import measure, norms_of

STATISTICS_IMAGES, STATISTICS_BATCH = 2000, 100
"""Training images that statistics are measured with, and how many at once."""

_SLOWEST = 0.9999


class Average:
    """The average of a model's weights so far.

    Attributes:
        count: steps whose weights were taken in.
    """

    def __init__(self, spec: AveragingSpec, *, epochs: int, steps_per_epoch: int) -> None:
        """Average nothing yet.

        Args:
            spec: what was asked for.
            epochs: of the training; the average begins in the last of them at the latest.
            steps_per_epoch: > 0.
        """
        first = min(round(spec.start * epochs), epochs - 1)
        self._spec, self._begins = spec, first * steps_per_epoch
        self.count = 0
        self._averaged: AveragedModel | None = None

    @property
    def model(self) -> nn.Module | None:
        """The averaged model, with the statistics of the last weights; None before it begins."""
        return None if self._averaged is None else self._averaged.module

    def decay(self, count: int) -> float:
        """Return what stays of an average of ema as another step's weights come in.

        It rises with the count n as (1 + n) / (10 + n), so that weights of the first steps are
        soon forgotten: at any time what is in it is a tenth of the steps old in the mean. Where no
        decay was asked for, it rises to the end, but not above 0.9999.

        Args:
            count: steps that are in the average, at least 1.
        """
        last = self._spec.decay if self._spec.decay is not None else _SLOWEST
        return min(last, (1 + count) / (10 + count))

    def add(self, model: nn.Module, step: int) -> None:
        """Take in the weights of a model.

        Args:
            model: the one that is trained.
            step: that made them, from 1; before the average begins, they are passed over.
        """
        if step <= self._begins:
            return
        if self._averaged is None:
            self._averaged = self._copy_of(model)
        self._averaged.update_parameters(model)
        self.count += 1

    def tensors(self) -> dict[str, Tensor]:
        """Return the averaged parameters by name; none before the average begins."""
        model = self.model
        return {} if model is None else {n: p.detach() for n, p in model.named_parameters()}

    def restore(self, model: nn.Module, tensors: Mapping[str, Tensor], count: int) -> None:
        """Go back to where `tensors` was called.

        Args:
            model: that is trained, with the weights of that time.
            tensors: what was returned.
            count: of that time.

        Raises:
            CheckpointError: they are of another model.
        """
        self.count, self._averaged = count, None
        if not count:
            return
        averaged = self._copy_of(model)
        named = dict(averaged.module.named_parameters())
        if named.keys() != tensors.keys():
            raise CheckpointError("this is a state of another network or plan; start the run anew")
        with torch.no_grad():
            for name, parameter in named.items():
                parameter.copy_(tensors[name])
        averaged.n_averaged.fill_(count)
        self._averaged = averaged

    def _copy_of(self, model: nn.Module) -> AveragedModel:
        try:
            averaged = AveragedModel(model, multi_avg_fn=self._mean)
        except (RuntimeError, TypeError, copy.Error) as error:
            raise InvalidSpecError(
                f"average keeps a copy of the module, which cannot be copied ({error}): leave "
                "average out",
                field="/training/average",
            ) from error
        return averaged.requires_grad_(False)

    def _mean(
        self,
        averaged: tuple[Tensor, ...] | list[Tensor],
        current: tuple[Tensor, ...] | list[Tensor],
        _count: Tensor | int,
    ) -> None:
        """Move averages of parameters, which lie on one device, towards the parameters."""
        if self._spec.kind == "swa":
            mean = get_swa_multi_avg_fn()  # type: ignore[no-untyped-call]  # of torch
        else:
            decay = self.decay(self.count)
            mean = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # likewise
        mean(averaged, current, self.count)


def average_of(spec: TrainingSpec, *, steps_per_epoch: int) -> Average | None:
    """Return the average that a training asks for, with nothing in it; None: it asks for none."""
    if spec.average is None:
        return None
    return Average(spec.average, epochs=spec.epochs, steps_per_epoch=steps_per_epoch)


def measure_statistics(
    model: nn.Module, images: Tensor, inputs: Inputs, *, at_once: int, seed: int
) -> None:
    """Measure the statistics of an averaged model's batch normalisations, see above.

    Args:
        model: has `members(x)`, or is a plain network.
        images: uint8 `(N, C, S, S)`, that are trained on; some of them are enough.
        inputs: turns them into what the model reads where it is graded.
        at_once: images, at most.
        seed: of the choice.
    """
    if not norms_of(model):
        return
    device = next(model.parameters()).device
    chosen = sampled(images, STATISTICS_IMAGES, min(STATISTICS_BATCH, at_once), seed=seed)
    batches = (inputs(some.to(device)) for some in chosen)
    measure(model, batches, lambda batch: members(model, batch))
