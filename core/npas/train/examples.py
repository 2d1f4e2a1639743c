"""What users train on: arrays, a dataset or a loader of torch, as batches of named inputs."""

from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from npas import seeds
from npas.errors import DataError
from npas.train.batches import num_batches

FORMS = (
    "give a pair (x, y) of tensors or arrays, x perhaps a tuple or a dict of them; a dataset of "
    "such pairs; or a DataLoader"
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """Examples that are seen together.

    Attributes:
        inputs: of forward, by name; those by position are called "0", "1", ...
        labels: whatever the loss compares the outputs with, the examples along dimension 0.
    """

    inputs: Mapping[str, Tensor]
    labels: Tensor

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.labels)

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        inputs = {name: each.to(device) for name, each in self.inputs.items()}
        return Batch(inputs=inputs, labels=self.labels.to(device))


class Examples(Protocol):
    """Examples, batch by batch, as often as wanted."""

    def num_batches(self, batch_size: int) -> int:
        """Return the batches of an epoch."""

    def epoch(self, batch_size: int, *place: int) -> Iterator[Batch]:
        """Yield the batches of an epoch.

        Args:
            batch_size: examples of a batch, at most, where they do not come as batches already.
            *place: seed and epoch, from which the order follows; nothing: in their own order.
        """


class Chosen:
    """Examples that are taken by their number; some of them, where some are held out."""

    def __init__(self, source: "_Arrays | _Items", chosen: Tensor) -> None:
        self._source, self.chosen = source, chosen

    @property
    def labels(self) -> Tensor | None:
        """Return all labels, where they are at hand."""
        whole = self._source.labels
        return None if whole is None else whole[self.chosen]

    def of(self, places: Tensor) -> "Chosen":
        """Return some of these examples."""
        return Chosen(self._source, self.chosen[places])

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.chosen)

    def num_batches(self, batch_size: int) -> int:
        """Return the batches of an epoch; they differ in size by one at most."""
        return max(1, num_batches(len(self), batch_size))

    def epoch(self, batch_size: int, *place: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, see `Examples`."""
        order = self.chosen
        if place:
            draw = seeds.generator("order", "fit", *place)
            order = order[torch.randperm(len(order), generator=draw)]
        for some in order.tensor_split(self.num_batches(batch_size)):
            yield self._source.take(some)


class Loaded:
    """Batches that a loader makes, in its own order and size."""

    def __init__(self, loader: Any, what: str) -> None:
        self._loader, self._what = loader, what

    def num_batches(self, batch_size: int) -> int:  # noqa: ARG002 - the loader has its own
        """Return the batches of an epoch."""
        return len(self._loader)

    def epoch(self, batch_size: int, *place: int) -> Iterator[Batch]:  # noqa: ARG002 - as above
        """Yield the batches of an epoch, see `Examples`."""
        for each in self._loader:
            yield _batch(each, self._what)


class _Arrays:
    """Arrays that hold one example in each row."""

    def __init__(self, whole: Batch) -> None:
        self._whole = whole
        self.labels: Tensor | None = whole.labels

    def take(self, places: Tensor) -> Batch:
        inputs = {name: each[places] for name, each in self._whole.inputs.items()}
        return Batch(inputs=inputs, labels=self._whole.labels[places])


class _Items:
    """Examples that a dataset makes one by one."""

    labels: Tensor | None = None

    def __init__(self, items: Any, what: str) -> None:
        self._items, self._what = items, what

    def take(self, places: Tensor) -> Batch:
        some = [self._items[place] for place in places.tolist()]
        try:
            together = default_collate(some)
        except TypeError as error:
            raise DataError(
                f"{self._what} holds what cannot be put together: {error}; {FORMS}"
            ) from error
        return _batch(together, self._what)


def examples(given: object, what: str) -> Chosen | Loaded:
    """Return what a user gave as examples.

    Args:
        given: see FORMS.
        what: its name, for messages.

    Raises:
        DataError: it is nothing of the kind, or its parts do not fit together.
    """
    if isinstance(given, tuple):
        whole = _batch(given, what)
        lengths = {name: len(each) for name, each in whole.inputs.items()}
        wrong = [name for name, length in lengths.items() if length != len(whole)]
        if wrong:
            raise DataError(
                f"{what} has {len(whole):,} labels, and {lengths[wrong[0]]:,} examples of input "
                f"{wrong[0]}; give as many of both"
            )
        return _whole(_Arrays(whole), len(whole), what)
    if isinstance(given, Sized) and not isinstance(given, Mapping | str | Tensor | np.ndarray):
        if hasattr(given, "__getitem__"):
            return _whole(_Items(given, what), len(given), what)
        if hasattr(given, "__iter__"):
            return Loaded(given, what)
    raise DataError(f"{what} is a {type(given).__name__}, of unknown length or form: {FORMS}")


def _whole(source: _Arrays | _Items, count: int, what: str) -> Chosen:
    if count < 2:
        raise DataError(f"{what} has {count} examples; give at least 2")
    return Chosen(source, torch.arange(count))


def _batch(given: object, what: str) -> Batch:
    """Return a batch, or all examples at once, in one form."""
    if isinstance(given, Mapping) and "labels" in given:
        given = {name: each for name, each in given.items() if name != "labels"}, given["labels"]
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise DataError(
            f"{what} is not pairs of inputs and labels, but {_told(given)}; {FORMS}; batches of "
            "several inputs are ((a, b), labels), or a dict with `labels`"
        )
    x, y = given
    if isinstance(x, Mapping):
        named = {str(name): each for name, each in x.items()}
    else:
        parts = x if isinstance(x, tuple | list) else [x]
        named = {str(place): each for place, each in enumerate(parts)}
    inputs = {name: _tensor(each, f"input {name} of {what}") for name, each in named.items()}
    for name, each in inputs.items():
        if each.dtype == torch.uint8:
            raise DataError(
                f"input {name} of {what} is bytes, and how a module wants them scaled only you "
                "know: give floats, such as x.float() / 255"
            )
    return Batch(inputs=inputs, labels=_tensor(y, f"the labels of {what}"))


def _tensor(given: object, what: str) -> Tensor:
    """Return a tensor of at least one dimension; numbers of NumPy's float64 as float32."""
    if isinstance(given, np.ndarray) and given.dtype.kind in "fiub":
        tensor = torch.from_numpy(np.ascontiguousarray(given))
        given = tensor.float() if tensor.dtype == torch.float64 else tensor
    if not isinstance(given, Tensor) or not given.dim():
        raise DataError(f"{what} is {_told(given)}, not a tensor or an array of examples; {FORMS}")
    return given


def _told(given: object) -> str:
    if isinstance(given, Sequence) and not isinstance(given, str):
        return f"a {type(given).__name__} of {len(given)}"
    return f"a {type(given).__name__}"
