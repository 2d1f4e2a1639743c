"""From what was seen of several runs to one graph: sizes that grow with the batch are found."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from npas.arch.graph.recording import Recorded
from npas.arch.graph.stateful import STATEFUL
from npas.errors import UndeclarableError
from npas.spec.graph import Batch

_WHILE_TRAINING = ("dropout", "dropout1d", "dropout2d", "dropout3d", "stochastic_depth")


def alive(nodes: Sequence[Recorded], answer: int) -> list[Recorded]:
    """Return the nodes that the answer depends on, numbered anew; the last makes the answer."""
    wanted, names = {answer}, set()
    for number in range(answer, 0, -1):
        node = nodes[number - 1]
        is_holder = node.op in STATEFUL and not node.reads
        if number not in wanted and not (is_holder and node.name in names):
            continue
        wanted |= {number, *node.reads}
        if node.op == "parameter" and node.name and not node.settings:
            names.add(node.name.rpartition(".")[0])
    numbers = {0: 0}
    kept = []
    for number in sorted(wanted - {0}):
        node = nodes[number - 1]
        reads = tuple(numbers[each] for each in node.reads)
        kept.append(replace(node, reads=reads))
        numbers[number] = len(kept)
    return kept


def _at(node: Recorded, reason: str) -> UndeclarableError:
    return UndeclarableError(reason, path=node.path, line=node.line)


def over_batches(
    few: Sequence[Recorded], more: Sequence[Recorded], sizes: tuple[int, int]
) -> list[Recorded]:
    """Return the nodes of runs with two batches as one, sizes that grow with the batch marked.

    Args:
        few: nodes of the smaller batch.
        more: of the larger one.
        sizes: images of each.

    Raises:
        UndeclarableError: other things are computed with more images.
    """
    found = []
    for one, other in zip(few, more, strict=False):
        if (one.op, one.reads, one.name) != (other.op, other.reads, other.name):
            raise _at(one, "with another number of images it computes something else")
        found.append(_merged(one, other, sizes))
    if len(few) != len(more):
        raise _at(
            (few if len(few) > len(more) else more)[len(found)], "with more images it goes on"
        )
    return found


def _merged(one: Recorded, other: Recorded, sizes: tuple[int, int]) -> Recorded:
    if one.settings.keys() != other.settings.keys():
        raise _at(one, f"{one.op} has other settings with more images")
    settings = {
        name: _grown(value, other.settings[name], sizes, one)
        for name, value in one.settings.items()
    }
    if one.tensor is None or other.tensor is None:
        return replace(one, settings=settings)
    if one.tensor.shape == other.tensor.shape and torch.equal(one.tensor, other.tensor):
        return replace(one, settings=settings)
    if one.op == "constant" and (found := _uniform(one.tensor, other.tensor, sizes, one)):
        return replace(one, op="full", settings=found, tensor=None)
    if one.op == "constant" and (base := _repeated(one.tensor, other.tensor, sizes)) is not None:
        return replace(one, settings={"for_each_image": True}, tensor=base)
    raise _at(
        one,
        "a tensor comes from the images, or from random numbers, by a way that was not seen: a "
        "function of your own (torch.autograd.Function, a scripted one) or torch's random numbers",
    )


def _grown(one: Any, other: Any, sizes: tuple[int, int], node: Recorded) -> Any:
    """Return a setting of both runs."""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = zip(one, other, strict=True)
        return [_grown(each, grown, sizes, node) for each, grown in pairs]
    if type(one) is type(other) and one == other:
        return one
    few, more = sizes
    if type(one) is int and type(other) is int and one % few == 0 and other * few == one * more:
        return Batch(batch=one // few)
    raise _at(node, f"{node.op}: {one} with {few} images, {other} with {more}")


def _uniform(
    one: Tensor, other: Tensor, sizes: tuple[int, int], node: Recorded
) -> dict[str, Any] | None:
    """Return the settings of a constant that is one number all over; None if it is not."""
    first = one.reshape(-1)[:1]
    if one.dim() != other.dim() or not (
        bool((one == first).all()) and bool((other == first).all())
    ):
        return None
    shape = _grown(list(one.shape), list(other.shape), sizes, node)
    dtype = str(one.dtype).removeprefix("torch.")
    return {"sizes": shape, "value": first.item(), "dtype": dtype}


def _repeated(one: Tensor, other: Tensor, sizes: tuple[int, int]) -> Tensor | None:
    """Return what a constant repeats for each image along its first dimension, or None."""
    if one.dim() == 0 or one.shape[0] % sizes[0]:
        return None
    base = one[: one.shape[0] // sizes[0]]
    for size, tensor in zip(sizes, (one, other), strict=True):
        repeated = base.repeat(size, *[1] * (base.dim() - 1))
        if repeated.shape != tensor.shape or not torch.equal(repeated, tensor):
            return None
    return base.clone()


def _told(node: Recorded, reads: tuple[int, ...]) -> tuple[Any, ...]:
    settings = {name: each for name, each in node.settings.items() if name != "dropout_p"}
    return node.op, reads, node.name, json.dumps(settings, sort_keys=True)


def _without_randomness(nodes: Sequence[Recorded]) -> list[tuple[tuple[Any, ...], Recorded]]:
    """Return what nodes compute, those left out that matter in training alone."""
    numbers: dict[int, int] = {0: 0}
    found: list[tuple[tuple[Any, ...], Recorded]] = []
    for number, node in enumerate(nodes, 1):
        reads = tuple(numbers[each] for each in node.reads)
        if node.op in _WHILE_TRAINING:
            numbers[number] = reads[0]
            continue
        found.append((_told(node, reads), node))
        numbers[number] = len(found)
    return found


def check_training(training: Sequence[Recorded], evaluating: Sequence[Recorded]) -> None:
    """Refuse networks that compute in training what they do not compute in evaluation.

    Raises:
        UndeclarableError: beside what is dropped at random, the two differ.
    """
    one, other = _without_randomness(training), _without_randomness(evaluating)
    for (told, node), (also, _) in zip(one, other, strict=False):
        if told != also:
            raise _at(node, "it computes something else while training; a graph has one way")
    if len(one) != len(other):
        longer = one if len(one) > len(other) else other
        raise _at(
            longer[min(len(one), len(other))][1],
            "it computes more in one of training and evaluation; a graph has one way",
        )


def shared_kinds(
    nodes: Sequence[Recorded], settings: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the kinds of nodes, each once, and the kind of each node."""
    numbers: dict[str, int] = {}
    kinds: list[dict[str, Any]] = []
    found = []
    for node, own in zip(nodes, settings, strict=True):
        kind = {"op": node.op, "settings": dict(own)}
        text = json.dumps(kind, sort_keys=True, default=lambda batch: batch.model_dump())
        if text not in numbers:
            numbers[text] = len(kinds)
            kinds.append(kind)
        found.append(numbers[text])
    return kinds, found
