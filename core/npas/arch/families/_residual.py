"""The frame of residual networks for small images whose blocks end in an activation."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MakeBlock = Callable[[int, int], nn.Module]
"""(channels in, stride) -> a block."""


class Residual(nn.Module):
    """Stem, three stages of blocks, global pooling, one linear layer.

    Args:
        stem: channels of the first convolution.
        stages: of each stage, the channels that its blocks put out, and what makes a block.
        num_blocks: of each stage; the first block of the second and third halves the image.
        num_classes: logits.
        input_channels: of images.
    """

    def __init__(
        self,
        stem: int,
        stages: Sequence[tuple[int, MakeBlock]],
        num_blocks: int,
        num_classes: int,
        input_channels: int,
    ) -> None:
        super().__init__()
        channels = stem
        self.conv = nn.Conv2d(input_channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.stages = nn.ModuleList()
        for (out, make), stride in zip(stages, (1, 2, 2), strict=True):
            blocks = nn.Sequential()
            for block in range(num_blocks):
                blocks.append(make(channels, stride if block == 0 else 1))
                channels = out
            self.stages.append(blocks)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, channels, H, W) to logits (B, classes)."""
        x = F.relu(self.norm(self.conv(x)), inplace=True)
        for stage in self.stages:
            x = stage(x)
        return cast(Tensor, self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)))
