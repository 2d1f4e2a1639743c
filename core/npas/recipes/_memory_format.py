"""In which order a weight's scalars lie in memory: taps last, or the input channels last.

Templates hold their scalars as (out, in, taps). Where weights are wanted channels-last, a recipe
may mix templates whose scalars it has put in that order: of templates there are fewer than of
weights. What it leaves as it was, `npas.sharing.layout` copies.
"""

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

import torch
from torch import Tensor

FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By the number of axes of a weight, the format with its input channels last."""

_NONE: frozenset[int] = frozenset()
_are_last = ContextVar("are_last", default=_NONE)


@contextlib.contextmanager
def channels_last(ranks: frozenset[int]) -> Iterator[None]:
    """Make weights with these numbers of axes channels-last, all others as they are."""
    token = _are_last.set(ranks)
    try:
        yield
    finally:
        _are_last.reset(token)


def are_last(rank: int) -> bool:
    """Return whether weights with this number of axes are wanted channels-last."""
    return rank in _are_last.get()


def shaped(scalars_N: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a view of a weight's scalars, as they lie in memory, as (out, in, *kernel)."""
    if not are_last(len(shape)):
        return scalars_N.view(tuple(shape))
    return scalars_N.view(shape[0], *shape[2:], shape[1]).movedim(-1, 1)


def rows_shaped(rows_RN: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a view of rows, each a weight's scalars as they lie, as (R, out, in, *kernel)."""
    if not are_last(len(shape)):
        return rows_RN.view(-1, *shape)
    return rows_RN.view(-1, shape[0], *shape[2:], shape[1]).movedim(-1, 2)


def in_order(templates_KD: Tensor, shape: Sequence[int]) -> Tensor:
    """Return templates of a weight's shape with their scalars as those of the weight lie."""
    if not are_last(len(shape)):
        return templates_KD
    return templates_KD.view(-1, *shape).movedim(2, -1).reshape(len(templates_KD), -1)


def out_of_order(gradients_KD: Tensor, shape: Sequence[int]) -> Tensor:
    """Return what was found for templates that `in_order` gave for those that it was given."""
    if not are_last(len(shape)):
        return gradients_KD
    return rows_shaped(gradients_KD, shape).reshape(len(gradients_KD), -1)


def packed(weight: Tensor) -> Tensor:
    """Return a weight without gaps, as those of its kind are wanted."""
    if not are_last(weight.dim()):
        return weight.contiguous()
    return weight.contiguous(memory_format=FORMATS[weight.dim()])


def is_as_wanted(weight: Tensor) -> bool:
    """Return whether a weight's scalars lie as those of its kind are wanted."""
    if not are_last(weight.dim()):
        return True
    return weight.is_contiguous(memory_format=FORMATS[weight.dim()])
