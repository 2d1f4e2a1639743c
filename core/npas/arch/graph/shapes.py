"""Every shape of a declared graph, followed on the meta device: nothing is computed."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from npas.arch.graph.building import WHERE, build
from npas.arch.graph.network import GraphNetwork
from npas.errors import InvalidSpecError
from npas.spec.graph import Graph

MAX_ACTIVATIONS = 2**26
"""Most numbers that one node may make of one image."""
MAX_SUM = 2**31
"""Most numbers that all nodes may make of one image."""
_BATCH = 3
"""Images at a time: odd, so that sizes meant for another batch are noticed."""

_KEEP_VALUES = frozenset(
    {
        *("view", "reshape", "flatten", "unflatten", "permute", "transpose", "unsqueeze"),
        *("squeeze", "expand", "contiguous", "clone", "getitem", "to", "movedim", "chunk"),
        *("split", "unbind", "item", "repeat", "flip", "roll", "select"),
    }
)
"""Functions after which a constant's numbers are within the range that they were in."""

_REFUSALS = (
    *(RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError),
    *(AssertionError, ArithmeticError),
)
"""What torch raises where shapes or types do not fit."""


def check(graph: Graph, shape: tuple[int, int, int], num_classes: int) -> None:
    """Follow the shapes through a graph; what was followed once is not followed again.

    Args:
        graph: to be checked.
        shape: of an image, (channels, height, width).
        num_classes: numbers that the answer must have.

    Raises:
        InvalidSpecError: a node does not fit what it reads, makes too much, or the answer is
            not (B, num_classes); `field` points to it.
    """
    _check(graph.model_dump_json(), shape, num_classes)


@functools.lru_cache(maxsize=64)
def _check(text: str, shape: tuple[int, int, int], num_classes: int) -> None:
    graph = Graph.model_validate_json(text)
    with torch.device("meta"):
        network = build(graph)
    ranges = _ranges_of_constants(graph, network)
    with torch.no_grad():
        found = _Following(graph, network.to("meta"), ranges).shapes(shape)
    wanted = (_BATCH, num_classes)
    if found.shape != wanted or not found.is_floating_point():
        raise _refused(
            len(graph.nodes),
            f"the answer is {found.dtype} of shape {_told(found)}, for B images; it must be "
            f"floating point of shape (B, num_classes), and num_classes is {num_classes}",
        )


def _refused(number: int, message: str) -> InvalidSpecError:
    where = number - 1
    return InvalidSpecError(f"graph/nodes/{where}: {message}", field=f"{WHERE}/nodes/{where}")


def _told(value: Any) -> str:
    if isinstance(value, Tensor):
        # The batch comes first; behind it, a size of as many is most likely the channels.
        sizes = [
            "B" if (place, size) == (0, _BATCH) else f"{size}"
            for place, size in enumerate(value.shape)
        ]
        return f"({', '.join(sizes)})"
    if isinstance(value, tuple | list):
        return " and ".join(_told(each) for each in value)
    return type(value).__name__


Range = tuple[float, float]


def _ranges_of_constants(graph: Graph, network: GraphNetwork) -> dict[int, Range]:
    """Return the least and the largest number of each node that is a constant of whole numbers."""
    found: dict[int, Range] = {}
    for step in network.graph_steps:
        node = graph.nodes[step.number - 1]
        if graph.kinds[node.kind].op in ("buffer", "constant"):
            value = step.call((), torch.empty(1), False)
            if not value.is_floating_point() and value.dtype != torch.bool:
                found[step.number] = (float(value.min()), float(value.max()))
    return found


class _Following:
    """Runs the steps on shapes alone."""

    def __init__(self, graph: Graph, network: GraphNetwork, ranges: Mapping[int, Range]) -> None:
        self._graph, self._network, self._ranges = graph, network.train(), dict(ranges)
        self._left = MAX_SUM * _BATCH

    def shapes(self, shape: tuple[int, int, int]) -> Tensor:
        """Return the answer to images of a shape."""
        images = torch.empty((_BATCH, *shape), device="meta")
        values: dict[int, Any] = {0: images}
        made: Any = images
        for step in self._network.graph_steps:
            op = self._graph.kinds[self._graph.nodes[step.number - 1].kind].op
            tensors = [values[number] for number in step.reads]
            for number in step.done:
                del values[number]
            try:
                self._look_at_indices(op, step.number, step.reads, tensors)
                made = step.call(tensors, images, True)
                self._look_at_sizes(made)
            except _REFUSALS as error:
                told = str(error).partition("\n")[0][:300]
                read = _told(tensors)
                raise _refused(
                    step.number, f"{op} does not fit what it reads, {read}: {told}"
                ) from error
            values[step.number] = made
        if not isinstance(made, Tensor):
            raise _refused(len(self._graph.nodes), "the answer must be one tensor")
        return made

    def _look_at_sizes(self, made: Any) -> None:
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, tuple):
                self._look_at_sizes(tensor)
                continue
            if tensor is None:  # attention without its weights
                continue
            if not isinstance(tensor, Tensor):
                raise TypeError(f"it makes a {type(tensor).__name__}")
            if not tensor.is_meta:
                raise TypeError("it makes a tensor that is not on the network's device")
            size = tensor.numel()
            self._left -= size
            if size < 1 or size > MAX_ACTIVATIONS * _BATCH or self._left < 0:
                raise ValueError(
                    f"it makes {_told(tensor)}; allowed are 1 to {MAX_ACTIVATIONS:,} numbers of "
                    f"an image, and {MAX_SUM:,} of all nodes"
                )

    def _look_at_indices(
        self, op: str, number: int, reads: Sequence[int], tensors: Sequence[Any]
    ) -> None:
        """Hold indices to what they point into: on some devices no one else would."""
        if op in _KEEP_VALUES and reads and reads[0] in self._ranges:
            self._ranges[number] = self._ranges[reads[0]]
        if op not in ("index", "Embedding"):
            return
        place = reads[-1]
        if place not in self._ranges:
            raise ValueError("indices must be a constant, or a view of one, of whole numbers")
        low, high = self._ranges[place]
        if op == "index":
            kind = self._graph.kinds[self._graph.nodes[number - 1].kind]
            dim = kind.settings.get("dim", 0)
            assert isinstance(dim, int)
            end = tensors[0].shape[dim]
            least = -end
        else:
            least, end = 0, self._entries(number)
        if low < least or high >= end:
            raise IndexError(
                f"indices are {low:.0f} to {high:.0f}; allowed are {least} to {end - 1}"
            )

    def _entries(self, number: int) -> int:
        name = self._graph.nodes[number - 1].name
        assert name is not None
        module = self._network.get_submodule(name)
        assert isinstance(module, nn.Embedding)
        return module.num_embeddings
