"""Statistics of batch normalisations, measured anew after weights were changed by hand.

They are averages over training; a fold that is not exact moves every activation behind it, and
old averages then cost more accuracy than the fold itself (docs/results.md). Weights that are
averaged over steps, too, have had no pass of their own that statistics could come from.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from npas.errors import DataError, InvalidSpecError
from npas.torch_internals import BATCH_NORM
from npas.train.evaluate import members

BatchOfInputs = TypeVar("BatchOfInputs")


def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Measure the running statistics of all batch normalisations anew, in place.

    Nothing is learned and no label is needed; dropout is off meanwhile. Normalisations that no
    batch comes through keep what they have.

    Args:
        model: a network, or anything with `members`.
        batches: of inputs (B, ...), normalised as in training, on the model's device; each counts
            alike.

    Raises:
        InvalidSpecError: the model is no module, or a lone tensor stands for the batches.
        DataError: there is no batch, or one is not a tensor, is empty, or holds infinite numbers
            or NaN; or the statistics do. They stay as they were then.
    """
    _check(model, batches)

    def run(batch: Tensor) -> None:
        check_batch(batch)
        members(model, batch)

    measure(model, batches, run)


def measure(
    model: nn.Module,
    batches: Iterable[BatchOfInputs],
    run: Callable[[BatchOfInputs], object],
) -> None:
    """Do what `recalibrate` does with batches of any form.

    Args:
        model: a network.
        batches: each counts alike.
        run: has the network read a batch.

    Raises:
        DataError: there is no batch, or a statistic came out infinite or NaN; all are as they were
            then.
    """
    before = [(each, each.clone()) for each in model.buffers()]
    try:
        _measure(model, batches, run)
    except BaseException:
        with torch.no_grad():
            for buffer, old in before:
                buffer.copy_(old)
        raise


def norms_of(model: nn.Module) -> list[nn.Module]:
    """Return the batch normalisations of a network that keep statistics."""
    return [
        module
        for module in model.modules()
        if isinstance(module, BATCH_NORM) and module.track_running_stats
    ]


def check_batch(batch: object) -> None:
    """Refuse what no statistics can be measured with.

    Raises:
        DataError: it is not a tensor, is empty, or holds infinite numbers or NaN.
    """
    if not isinstance(batch, Tensor):
        kind = type(batch).__name__
        raise DataError(
            f"a batch is a {kind}: give tensors of inputs, without labels; modules of several "
            "inputs are not measured (npas.share(module, plan, fit=True) fits their weights)"
        )
    if not batch.numel():
        raise DataError(f"a batch of shape {tuple(batch.shape)} is empty: give several inputs")
    if not bool(batch.isfinite().all()):
        raise DataError("a batch holds infinite numbers, or NaN: leave those inputs out")


def _measure(
    model: nn.Module,
    batches: Iterable[BatchOfInputs],
    run: Callable[[BatchOfInputs], object],
) -> None:
    norms = [module for module in norms_of(model) if isinstance(module, BATCH_NORM)]
    modes = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    before = [{name: each.clone() for name, each in norm.named_buffers()} for norm in norms]
    model.eval()
    count = 0
    try:
        with torch.no_grad():
            for batch in batches:
                for norm in norms if count == 0 else ():
                    norm.reset_running_stats()
                    norm.momentum = None  # the plain mean over batches
                    norm.train()
                run(batch)
                count += 1
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode
    if count == 0:
        raise DataError("statistics cannot be measured without a batch of inputs")
    for norm, old in zip(norms, before, strict=True):
        _settle(norm, old)


def _settle(norm: nn.Module, old: dict[str, Tensor]) -> None:
    """Give a normalisation that was not run its old statistics; check those of the others."""
    count = dict(norm.named_buffers()).get("num_batches_tracked")
    is_run = count is None or int(count) > 0
    for name, each in norm.named_buffers():
        if not is_run:
            each.copy_(old[name])
        elif not bool(each.isfinite().all()):
            raise DataError(
                f"{name} of a batch normalisation came out infinite or NaN: the network's "
                "weights do not suit these inputs"
            )


def _check(model: object, batches: object) -> None:
    """Refuse what is no module, and what cannot be gone through batch by batch."""
    if not isinstance(model, nn.Module):
        folded = isinstance(getattr(model, "model", None), nn.Module)
        advice = "give its .model" if folded else "give a network"
        raise InvalidSpecError(f"the model is a {type(model).__name__}, not a module; {advice}")
    if isinstance(batches, Tensor) or not isinstance(batches, Iterable):
        kind = type(batches).__name__
        raise InvalidSpecError(f"batches is a {kind}; give several tensors, such as [inputs]")
