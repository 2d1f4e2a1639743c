"""The wide residual network that the peers are made of; what its layers are is theirs to say.

Source: Zagoruyko & Komodakis, "Wide Residual Networks", BMVC 2016, as `npas.arch.families.wrn`.
"""

import math
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """Of a network.

    Attributes:
        depth: 6 n + 4.
        width: of the stages, as in the name wrn-DEPTH-WIDTH.
        scale: multiplies every channel count, the stem's too.
        num_classes: of the images.
        input_channels: of the images.
    """

    depth: int
    width: int
    scale: float
    num_classes: int
    input_channels: int

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Return the channels of the stem and of the three stages."""
        stem, *stages = (
            max(1, math.floor(self.scale * count + 0.5))
            for count in (16, *(16 * 2**stage * self.width for stage in range(3)))
        )
        return stem, stages[0], stages[1], stages[2]


class Layers(Protocol):
    """Makes the layers of a network."""

    def convolution(self, num_in: int, num_out: int, kernel: int, stride: int) -> nn.Module:
        """Return a convolution that keeps the image's size, but for its stride."""

    def norm(self, channels: int) -> nn.Module:
        """Return a batch norm."""


class PlainLayers:
    """Makes layers as every network has them."""

    def convolution(self, num_in: int, num_out: int, kernel: int, stride: int) -> nn.Module:
        """Return an `nn.Conv2d`, He-initialised as in the paper."""
        made = nn.Conv2d(num_in, num_out, kernel, stride=stride, padding=kernel // 2, bias=False)
        nn.init.kaiming_normal_(made.weight)
        return made

    def norm(self, channels: int) -> nn.Module:
        """Return an `nn.BatchNorm2d`."""
        return nn.BatchNorm2d(channels)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with normalisation and activation before each."""

    def __init__(self, layers: Layers, num_in: int, num_out: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = layers.norm(num_in), layers.norm(num_out)
        self.conv1 = layers.convolution(num_in, num_out, 3, stride)
        self.conv2 = layers.convolution(num_out, num_out, 3, 1)
        self.shortcut: nn.Module | None = None
        if num_in != num_out or stride > 1:
            self.shortcut = layers.convolution(num_in, num_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride)."""
        active = functional.relu(self.norm1(x), inplace=True)
        residual = self.conv2(functional.relu(self.norm2(self.conv1(active)), inplace=True))
        return cast(Tensor, residual + (x if self.shortcut is None else self.shortcut(active)))


class Skeleton(nn.Module):
    """Three stages of residual blocks after a stem, and how their features are read.

    Attributes:
        stem: the first convolution.
        stages: of (depth - 4) / 6 blocks each.
    """

    def __init__(
        self, layers: Layers, stem: nn.Module, channels: tuple[int, int, int, int], depth: int
    ) -> None:
        super().__init__()
        self.stem, self.stages = stem, nn.ModuleList()
        for stage, stride in enumerate((1, 2, 2)):
            num_in, num_out = channels[stage], channels[stage + 1]
            blocks = nn.Sequential(ResidualBlock(layers, num_in, num_out, stride))
            for _ in range((depth - 4) // 6 - 1):
                blocks.append(ResidualBlock(layers, num_out, num_out, 1))
            self.stages.append(blocks)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images to what each stage makes of them."""
        found = []
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


def pooled(features: Tensor, norm: nn.Module) -> Tensor:
    """Return the mean over the places of an image, normalised and activated: `(B, C)`."""
    active = functional.relu(norm(features), inplace=True)
    return torch.flatten(functional.adaptive_avg_pool2d(active, 1), 1)
