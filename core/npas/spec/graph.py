"""A network declared as an acyclic graph of modules and functions: data, checked on entry.

Node 0 is the images; node k the k-th of `nodes`, which reads nodes of smaller numbers alone, so
that there can be no cycle. What nodes have in common stands once, in `kinds`.

Example: a convolution and what it made, added to what a second one makes of it.

    {"kinds": [{"op": "Conv2d", "settings": {"in_channels": 8, "out_channels": 8,
                                             "kernel_size": 3, "padding": 1}},
               {"op": "add"}],
     "nodes": [{"kind": 0, "name": "first"}, {"kind": 0, "name": "second"},
               {"kind": 1, "inputs": [1, 2]}]}
"""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from npas.spec.checked import Spec

MAX_NODES = 5_000
MAX_KINDS = 2_000
MAX_CONSTANTS = 256
MAX_INPUTS = 512
"""Tensors that one node reads; a dense block of DenseNet-201 puts 49 behind each other."""
MAX_DATA = 300_000
"""Characters of one constant as it is sent, compressed."""

PATH = r"^[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,15}$"
"""A module's or parameter's name in the network: parts with dots between them."""

Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}$")]
Text = Annotated[str, StringConstraints(max_length=100)]


def _without_dunders(path: str) -> str:
    """Refuse names that Python keeps for itself."""
    if any(part.startswith("__") for part in path.split(".")):
        raise ValueError("a part of a name cannot begin with __")
    return path


Path = Annotated[str, StringConstraints(pattern=PATH), AfterValidator(_without_dunders)]


def _is_none(value: object) -> bool:
    return value is None


def _is_empty(value: Any) -> bool:
    return not value


class Batch(Spec):
    """A size that grows with the batch: so many times the number of images."""

    batch: int = Field(ge=1, le=2**31)


Scalar = None | bool | int | float | Text | Batch
Few = Annotated[tuple[Scalar, ...], Field(max_length=64, strict=False)]
Setting = Scalar | Annotated[tuple[Scalar | Few, ...], Field(max_length=1024, strict=False)]


class Kind(Spec):
    """What nodes of one kind do: a module or a function of the list, and its settings."""

    op: Word = Field(description="Conv2d, Linear, add, reshape, ...: see docs/declaring.md")
    settings: dict[Word, Setting] = Field(
        default_factory=dict, max_length=32, exclude_if=_is_empty
    )


Start = Annotated[tuple[float, ...], Field(min_length=2, max_length=2, strict=False)]


class Node(Spec):
    """A tensor that is computed, a parameter, or a module that others use."""

    kind: int = Field(ge=0, lt=MAX_KINDS)
    inputs: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False)] | None = Field(
        None,
        max_length=MAX_INPUTS,
        description="numbers of nodes; left out: the node before",
        exclude_if=_is_none,
    )
    name: Path | None = Field(
        None, description="of a module or parameter, as in a state dict", exclude_if=_is_none
    )
    start: dict[Word, Start] = Field(
        default_factory=dict,
        max_length=32,
        description="parameter -> mean and standard deviation it starts with, where they are "
        "not those of torch",
        exclude_if=_is_empty,
    )


class Constant(Spec):
    """Numbers that a network comes with: base64 of zlib of their bytes, little-endian."""

    dtype: Word
    shape: Annotated[tuple[Annotated[int, Field(ge=1, le=2**24)], ...], Field(strict=False)] = (
        Field(max_length=8)
    )
    data: Annotated[str, StringConstraints(max_length=MAX_DATA, pattern=r"^[A-Za-z0-9+/]*=*$")]


class Graph(Spec):
    """A whole network; its answer is the last node, (B, num_classes)."""

    kinds: Annotated[tuple[Kind, ...], Field(strict=False)] = Field(
        min_length=1, max_length=MAX_KINDS
    )
    nodes: Annotated[tuple[Node, ...], Field(strict=False)] = Field(
        min_length=1, max_length=MAX_NODES
    )
    constants: Annotated[tuple[Constant, ...], Field(strict=False)] = Field(
        (), max_length=MAX_CONSTANTS, exclude_if=_is_empty
    )

    @model_validator(mode="after")
    def _nodes_read_earlier_ones(self) -> Self:
        for index, node in enumerate(self.nodes):
            if node.kind >= len(self.kinds):
                raise ValueError(
                    f"nodes/{index} is of kind {node.kind}; kinds are 0 to {len(self.kinds) - 1}"
                )
            late = [each for each in node.inputs or () if each > index]
            if late:
                raise ValueError(
                    f"nodes/{index} is node {index + 1} and reads node {late[0]}: a node reads "
                    f"earlier ones alone, 0 (the images) to {index}"
                )
        return self


def plain(graph: Graph) -> Mapping[str, Any]:
    """Return a graph as a request says it."""
    return graph.model_dump(mode="json")
