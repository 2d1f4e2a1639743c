"""From declared layers to modules: every shape is known before the module is made.

A shape leaves the batch out: (channels, height, width) of an image, (steps, width) of a sequence,
(width,) of a vector.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from npas.arch.families import _declared_modules as parts
from npas.arch.families._small_images import scaled
from npas.errors import InvalidSpecError
from npas.spec import declared

Shape = tuple[int, ...]
Made = tuple[nn.Module, Shape]

MAX_ACTIVATIONS = 2**26
"""Most numbers that one layer may make of one input."""

WORDS = {3: "an image (channels, height, width)", 2: "a sequence (steps, width)", 1: "a vector"}
FUNCTIONS: dict[str, type[nn.Module]] = {
    **{"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "gelu": nn.GELU},
    **{"silu": nn.SiLU, "hardswish": nn.Hardswish, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid},
}
CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class _UnfitError(Exception):
    """A layer cannot stand where it stands."""


def build(
    layers: Sequence[declared.Item], shape: Shape, num_classes: int, scale: float
) -> nn.Sequential:
    """Return the network.

    Raises:
        InvalidSpecError: a layer does not fit what comes before it; `field` points to it.
    """
    network, found = _Builder(num_classes, scale).sequence(layers, shape, "/architecture/layers")
    if found != (num_classes,):
        raise InvalidSpecError(
            f"the layers end in {_told(found)}, not in num_classes = {num_classes} numbers: let "
            'them end in {"kind": "pool", "function": "global"}, {"kind": "linear"}',
            field=f"/architecture/layers/{len(layers) - 1}",
        )
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight)
    return network


def _told(shape: Shape) -> str:
    return f"{WORDS[len(shape)]} {shape}"


class _Builder:
    """Makes one module per layer and follows the shapes."""

    def __init__(self, num_classes: int, scale: float) -> None:
        self.num_classes, self.scale = num_classes, scale

    def sequence(
        self, layers: Sequence[declared.Item], shape: Shape, path: str
    ) -> tuple[nn.Sequential, Shape]:
        """Return the modules of a list and the shape they make."""
        made = nn.Sequential()
        for index, item in enumerate(layers):
            here = f"{path}/{index}"
            try:
                module, found = self.layer(item, shape, here)
                if min(found) < 1 or math.prod(found) > MAX_ACTIVATIONS:
                    limit = f"at least 1 each, at most {MAX_ACTIVATIONS:,} in all"
                    raise _UnfitError(f"it would make {found} of {shape}; {limit}")
            except _UnfitError as error:
                where = here.removeprefix("/architecture/")
                raise InvalidSpecError(f"{where}: {error}", field=here) from error
            made.append(module)
            shape = found
        return made, shape

    @functools.singledispatchmethod
    def layer(self, item: declared.Item, shape: Shape, path: str) -> Made:
        """Return the module of one layer and the shape it makes."""
        raise NotImplementedError(f"{type(item).__name__} has no builder: register one below")

    @layer.register
    def _(self, item: declared.Conv, shape: Shape, path: str) -> Made:  # noqa: ARG002
        _needs(item, shape, 2, 3)
        num_in, places = _split(shape)
        num_out, groups = scaled(item.channels, self.scale), item.groups
        if groups == "depthwise":
            groups, num_out = num_in, num_in * max(1, round(num_out / num_in))
        if num_in % groups or num_out % groups:
            raise _UnfitError(
                f"groups {groups} must divide the {num_in} channels that come in and the "
                f"{num_out} that go out"
            )
        places, more = _enlarged(item, places) if item.transposed else _reduced(item, places)
        kinds: Sequence[Any] = _TRANSPOSED if item.transposed else _CONVOLUTIONS
        made = kinds[len(places) - 1](
            *(num_in, num_out, item.kernel),
            stride=item.stride,
            dilation=item.dilation,
            groups=groups,
            bias=item.bias,
            **more,
        )
        return _over(made, num_out, places)

    @layer.register
    def _(self, item: declared.Norm, shape: Shape, path: str) -> Made:  # noqa: ARG002
        num_in, places = _split(shape)
        if item.function == "layer":
            made = nn.GroupNorm(1, num_in) if len(shape) == 3 else nn.LayerNorm(num_in)
            return made, shape
        if item.function == "group":
            if num_in % item.groups:
                raise _UnfitError(f"groups {item.groups} must divide the {num_in} channels")
            return _over(nn.GroupNorm(item.groups, num_in), num_in, places)
        kind = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
        return _over(kind(num_in), num_in, places)

    @layer.register
    def _(self, item: declared.Activation, shape: Shape, path: str) -> Made:  # noqa: ARG002
        return FUNCTIONS[item.function](), shape

    @layer.register
    def _(self, item: declared.Pool, shape: Shape, path: str) -> Made:  # noqa: ARG002
        _needs(item, shape, 2, 3)
        num_in, places = _split(shape)
        if item.function == "global":
            return parts.Mean((2, 3) if len(shape) == 3 else (1,)), (num_in,)
        if 2 * item.padding > item.size:
            raise _UnfitError(f"padding {item.padding} must be at most half the size {item.size}")
        stride = item.stride or item.size
        kinds = _MAXIMA if item.function == "max" else _AVERAGES
        made = kinds[len(places) - 1](item.size, stride=stride, padding=item.padding)
        found = tuple((n + 2 * item.padding - item.size) // stride + 1 for n in places)
        return _over(made, num_in, found)

    @layer.register
    def _(self, item: declared.Linear, shape: Shape, path: str) -> Made:  # noqa: ARG002
        _needs(item, shape, 1, 2)
        num_out = self.num_classes
        if item.outputs != "classes":
            num_out = scaled(item.outputs, self.scale)
        return nn.Linear(shape[-1], num_out, bias=item.bias), (*shape[:-1], num_out)

    @layer.register
    def _(self, item: declared.Flatten, shape: Shape, path: str) -> Made:  # noqa: ARG002
        return nn.Flatten(), (math.prod(shape),)

    @layer.register
    def _(self, item: declared.Steps, shape: Shape, path: str) -> Made:  # noqa: ARG002
        _needs(item, shape, 3)
        channels, height, width = shape
        found = (height, channels * width) if item.of == "rows" else (height * width, channels)
        return parts.ToSteps(item.of), found

    @layer.register
    def _(self, item: declared.Recurrent, shape: Shape, path: str) -> Made:  # noqa: ARG002
        _needs(item, shape, 2)
        num_out = scaled(item.outputs, self.scale)
        made = CELLS[item.cell](
            *(shape[1], num_out, item.layers),
            bidirectional=item.both_directions,
            batch_first=True,
        )
        return parts.Outputs(made), (shape[0], num_out * (1 + item.both_directions))

    @layer.register
    def _(self, item: declared.Attention, shape: Shape, path: str) -> Made:  # noqa: ARG002
        _needs(item, shape, 2)
        if shape[1] % item.heads:
            raise _UnfitError(f"heads {item.heads} must divide the width {shape[1]}")
        return parts.SelfAttention(shape[1], item.heads), shape

    @layer.register
    def _(self, item: declared.Dropout, shape: Shape, path: str) -> Made:  # noqa: ARG002
        return nn.Dropout(item.probability), shape

    @layer.register
    def _(self, item: declared.Residual, shape: Shape, path: str) -> Made:
        body, found = self.sequence(item.body, shape, f"{path}/body")
        shortcut, other = None, shape
        if item.shortcut is not None:
            shortcut, other = self.sequence(item.shortcut, shape, f"{path}/shortcut")
        if found != other:
            raise _UnfitError(
                f"the body makes {found} of {shape}, the shortcut {other}: let both make the same"
            )
        return parts.Added(body, shortcut), found

    @layer.register
    def _(self, item: declared.Concat, shape: Shape, path: str) -> Made:
        made = [
            self.sequence(branch, shape, f"{path}/branches/{index}")
            for index, branch in enumerate(item.branches)
        ]
        shapes = [_split(found) for _, found in made]
        if len({places for _, places in shapes}) > 1:
            found = ", ".join(str(shape) for _, shape in made)
            raise _UnfitError(f"the branches make {found}; all but the channels must be the same")
        num_out, places = sum(channels for channels, _ in shapes), shapes[0][1]
        axis = 1 if len(places) == 2 else -1
        return parts.Joined([module for module, _ in made], axis), _whole(num_out, places)

    @layer.register
    def _(self, item: declared.Repeat, shape: Shape, path: str) -> Made:
        made = nn.Sequential()
        for _ in range(item.times):
            body, shape = self.sequence(item.body, shape, f"{path}/body")
            made.append(body)
        return made, shape


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)
_MAXIMA = (nn.MaxPool1d, nn.MaxPool2d)
_AVERAGES = (nn.AvgPool1d, nn.AvgPool2d)


Geometry = tuple[Shape, dict[str, int]]


def _reduced(item: declared.Conv, places: Shape) -> Geometry:
    """Return the places after a convolution, and its padding."""
    reach = item.dilation * (item.kernel - 1) + 1
    padding = (reach - 1) // 2 if item.padding is None else item.padding
    found = tuple((n + 2 * padding - reach) // item.stride + 1 for n in places)
    return found, {"padding": padding}


def _enlarged(item: declared.Conv, places: Shape) -> Geometry:
    """Return the places after a transposed convolution, and its paddings."""
    reach = item.dilation * (item.kernel - 1) + 1
    padding, extra = item.padding, 0
    if padding is None:  # every place becomes `stride` places
        padding = -(-max(0, reach - item.stride) // 2)
        extra = item.stride - reach + 2 * padding
    found = tuple((n - 1) * item.stride - 2 * padding + reach + extra for n in places)
    return found, {"padding": padding, "output_padding": extra}


def _needs(item: declared.Item, shape: Shape, *ranks: int) -> None:
    """Refuse a layer that cannot read what it is given."""
    if len(shape) not in ranks:
        kind = type(item).__name__.lower()
        wanted = " or ".join(WORDS[rank] for rank in ranks)
        raise _UnfitError(f"{kind} reads {wanted}, not {_told(shape)}")


def _split(shape: Shape) -> tuple[int, tuple[int, ...]]:
    """Return channels and places of a shape."""
    return (shape[0], shape[1:]) if len(shape) == 3 else (shape[-1], shape[:-1])


def _whole(channels: int, places: tuple[int, ...]) -> Shape:
    """Return the shape of channels and places."""
    return (channels, *places) if len(places) == 2 else (*places, channels)


def _over(module: nn.Module, channels: int, places: tuple[int, ...]) -> Made:
    """Return a module that reads channels first, and the shape it makes."""
    made = parts.OverSteps(module) if len(places) == 1 else module
    return made, _whole(channels, places)
