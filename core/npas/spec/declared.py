"""A network declared as a list of layers: plain data, checked on entry, nothing is executed.

Example: the layers of a small network for images.

    [{"kind": "conv", "channels": 16}, {"kind": "norm"}, {"kind": "activation"},
     {"kind": "repeat", "times": 3, "body": [
        {"kind": "residual", "body": [{"kind": "conv", "channels": 16}, {"kind": "norm"}]},
        {"kind": "activation"}]},
     {"kind": "pool", "function": "global"}, {"kind": "linear"}]
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_NESTING = 8
"""Lists within lists; a network of the papers needs three."""

MAX_DECLARED = 4_000
"""Layers of all lists, repeated ones counted each time."""

Width = Annotated[int, Field(ge=1, le=65_536)]
Small = Annotated[int, Field(ge=1, le=64)]


class Item(BaseModel):
    """What all layers have in common: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class Conv(Item):
    """A convolution over the places of an image, or over the steps of a sequence.

    Without `padding` an odd kernel keeps the size, or divides it by its stride; a transposed one
    multiplies it by its stride.
    """

    kind: Literal["conv"]
    channels: Width = Field(description="that come out")
    kernel: Small = 3
    stride: Small = 1
    dilation: Small = 1
    padding: int | None = Field(
        None, ge=0, le=64, description="left out: half of what the kernel reaches"
    )
    groups: Width | Literal["depthwise"] = 1
    transposed: bool = Field(False, description="enlarges by its stride instead")
    bias: bool = False


class Norm(Item):
    """Normalisation of channels: over the batch, over groups of channels, or over all."""

    kind: Literal["norm"]
    function: Literal["batch", "group", "layer"] = "batch"
    groups: Width = Field(1, description="of `group`")


class Activation(Item):
    """A function of every number."""

    kind: Literal["activation"]
    function: Literal[
        "relu", "leaky_relu", "elu", "gelu", "silu", "hardswish", "tanh", "sigmoid"
    ] = "relu"


class Pool(Item):
    """The largest or the average of neighbours; `global`: the average of all places or steps."""

    kind: Literal["pool"]
    function: Literal["max", "average", "global"] = "max"
    size: Small = 2
    stride: Small | None = Field(None, description="left out: the size")
    padding: int = Field(0, ge=0, le=32)


class Linear(Item):
    """A matrix for a vector, or for every step of a sequence."""

    kind: Literal["linear"]
    outputs: Width | Literal["classes"] = "classes"
    bias: bool = True


class Flatten(Item):
    """Makes a vector of an image or of a sequence."""

    kind: Literal["flatten"]


class Steps(Item):
    """Makes a sequence of an image: one step for each row, or for each place."""

    kind: Literal["steps"]
    of: Literal["rows", "places"] = "rows"


class Recurrent(Item):
    """A recurrent layer over the steps of a sequence."""

    kind: Literal["recurrent"]
    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    outputs: Width = Field(description="of each direction")
    layers: Annotated[int, Field(ge=1, le=32)] = 1
    both_directions: bool = False


class Attention(Item):
    """Every step of a sequence looks at all others."""

    kind: Literal["attention"]
    heads: Small = 1


class Dropout(Item):
    """Zeros at random while training."""

    kind: Literal["dropout"]
    probability: float = Field(0.5, ge=0, lt=1)


class Residual(Item):
    """Adds what the body makes to its input, or to what the shortcut makes of it."""

    kind: Literal["residual"]
    body: "Layers"
    shortcut: "Layers | None" = None


class Concat(Item):
    """Puts the channels that several branches make of one input behind each other."""

    kind: Literal["concat"]
    branches: Annotated[tuple["Layers", ...], Field(min_length=1, max_length=64, strict=False)]


class Repeat(Item):
    """The body several times in a row, each time with weights of its own."""

    kind: Literal["repeat"]
    times: Annotated[int, Field(ge=1, le=1_000)]
    body: "Layers"


AnyItem = Annotated[
    Conv
    | Norm
    | Activation
    | Pool
    | Linear
    | Flatten
    | Steps
    | Recurrent
    | Attention
    | Dropout
    | Residual
    | Concat
    | Repeat,
    Field(discriminator="kind"),
]
Layers = Annotated[tuple[AnyItem, ...], Field(min_length=1, max_length=1_000, strict=False)]

for _nested in (Residual, Concat, Repeat):
    _nested.model_rebuild()


def bodies(item: Item) -> Iterator[tuple[str, Sequence[Item]]]:
    """Yield (path below the item, layers) of every list inside a layer."""
    if isinstance(item, Residual | Repeat):
        yield "body", item.body
    if isinstance(item, Residual) and item.shortcut is not None:
        yield "shortcut", item.shortcut
    if isinstance(item, Concat):
        for index, branch in enumerate(item.branches):
            yield f"branches/{index}", branch


def _count(layers: Sequence[Item], nesting: int) -> int:
    """Return how many layers a list stands for; ValueError where lists nest too deep."""
    if nesting > MAX_NESTING:
        raise ValueError(f"lists of layers nest at most {MAX_NESTING} deep")
    total = 0
    for item in layers:
        inside = sum(_count(body, nesting + 1) for _, body in bodies(item))
        total += 1 + inside * (item.times if isinstance(item, Repeat) else 1)
    return total


def _bounded(layers: tuple[AnyItem, ...]) -> tuple[AnyItem, ...]:
    """Refuse lists that stand for too many layers."""
    if (count := _count(layers, 1)) > MAX_DECLARED:
        raise ValueError(f"the list stands for {count:,} layers; at most {MAX_DECLARED:,}")
    return layers


LayerList = Annotated[Layers, AfterValidator(_bounded)]
"""The layers of a whole network, the input's first."""
