"""Small modern networks for small images: tiny-WIDTH-DEPTH, tiny-48-6 of 97,530 parameters.

Source: the public network `cifar10-tiniest` of 97,530 parameters (94.4 % on CIFAR-10 after 200
epochs, by its author), which is tiny-48-6 here. Blocks are those of ConvNeXt (Liu et al., "A
ConvNet for the 2020s", CVPR 2022) with a gate (Shazeer, "GLU Variants Improve Transformer", 2020)
and depthwise kernels of several sizes (as in Ding et al., "Scaling Up Your Kernels to 31x31", CVPR
2022, and InceptionNeXt, Yu et al., CVPR 2024). Other sizes are ours: the second stage has 5/3 of
the width of the first, and half of the blocks. Axis letters: B batch, C channels, H, W.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from npas.arch.families._small_images import SmallImageFamily, ends, scale_of, scaled
from npas.arch.layers import Role, RoleOf
from npas.errors import InvalidSpecError
from npas.spec import ArchitectureSpec

FIRST, SECOND = 3, 5
"""Channels of the two stages, for each group of the convolution between them."""

MOST_GROUPS = 1024


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of every pixel."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(num_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same."""
        return cast(Tensor, self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


def _depthwise(num_channels: int, kernel: int, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(
        num_channels,
        num_channels,
        kernel,
        padding=padding,
        dilation=dilation,
        groups=num_channels,
    )


class Block(nn.Module):
    """Depthwise kernels of three sizes, each on a quarter of the channels; a gate; a residual."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        quarter = max(1, num_channels // 4)
        self.parts = [num_channels - 3 * quarter, quarter, quarter, quarter]
        self.small = _depthwise(quarter, 3)
        self.large = _depthwise(quarter, 7)
        self.wide = _depthwise(quarter, 7, dilation=3)
        self.norm = ChannelNorm(num_channels)
        self.expand = nn.Conv2d(num_channels, 2 * num_channels, 1)
        self.project = nn.Conv2d(num_channels, num_channels, 1)
        self.residual_scale = nn.Parameter(torch.ones(1, num_channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same."""
        same, small, large, wide = torch.split(x, self.parts, dim=1)
        blurred = F.avg_pool2d(wide, 3, stride=1, padding=1)
        mixed = [same, self.small(small), self.large(large), self.wide(blurred)]
        gate, value = self.expand(self.norm(torch.cat(mixed, 1))).chunk(2, dim=1)
        active = torch.tanh(torch.exp(gate)) * gate * value  # the first two: Mish, nearly
        return cast(Tensor, self.project(active) + x * self.residual_scale)


class TinyNetwork(nn.Module):
    """Stem, two stages of blocks with a halving between them, pooling, one linear layer."""

    def __init__(
        self, num_blocks: int, num_groups: int, num_classes: int, input_channels: int
    ) -> None:
        super().__init__()
        first, second = FIRST * num_groups, SECOND * num_groups
        self.conv = nn.Conv2d(input_channels, first, 3, padding=1)
        self.norm = ChannelNorm(first)
        self.down = nn.Conv2d(first, second, 4, stride=2, padding=1, groups=num_groups)
        self.down_norm = ChannelNorm(second)
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(channels) for _ in range(num_blocks)))
            for channels in (first, second)
        )
        self.fc = nn.Linear(second, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, channels, S, S), S at least 4, to logits (B, classes)."""
        x = self.stages[0](self.norm(self.conv(x)))
        x = self.stages[1](self.down_norm(self.down(x)))
        return cast(Tensor, self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)))


class TinyFamily(SmallImageFamily):
    """tiny-WIDTH-DEPTH: the channels of the first stage, and the blocks of both."""

    title = "Small modern network: gates and depthwise kernels of three sizes"
    example = "tiny-48-6"
    form = "tiny-{}-{}"
    depth = (2, 0, 1, 50)

    def names(self) -> list[str]:
        """Return the published size, and some of ours."""
        return [f"tiny-{width}-{depth}" for width in (24, 48, 72, 96) for depth in (4, 6, 12)]

    def read(self, spec: ArchitectureSpec) -> tuple[int, ...]:
        """Return the blocks of a stage and the first stage's channels; see `SmallImageFamily`."""
        width, depth = self._numbers(spec.name) or (0, 0)
        step, rest, least, most = self.depth
        blocks = rest + step * max(least, min(most, round((depth - rest) / step)))
        allowed = FIRST * max(1, min(MOST_GROUPS, round(width / FIRST))), blocks
        if allowed != (width, depth):
            raise InvalidSpecError(
                f"{spec.name}: the width must be a multiple of {FIRST}, from {FIRST} to "
                f"{FIRST * MOST_GROUPS}, then an even number of blocks, from {step * least} to "
                f"{step * most}; the nearest is {self.form.format(*allowed)}",
                field="/architecture/name",
            )
        return depth // 2, width

    def called(self, spec: ArchitectureSpec, num_steps: int, others: Sequence[int]) -> str:  # noqa: ARG002 - of any
        """Return the name: the width comes first."""
        return self.form.format(*others, 2 * num_steps)

    def build(self, spec: ArchitectureSpec) -> nn.Module:
        """Return the network; InvalidSpecError for numbers that are not allowed."""
        num_blocks, width = self.read(spec)
        return TinyNetwork(num_blocks, scaled(width // FIRST, scale_of(spec)), *ends(spec))

    def role_of(self, spec: ArchitectureSpec) -> RoleOf:  # noqa: ARG002 - the same for every size
        """Return the roles: what changes the size of images is a transition."""
        return _role_of


def _role_of(name: str) -> tuple[Role, str]:
    parts = name.split(".")
    if parts[0] == "stages":
        return "body", f"stage {int(parts[1]) + 1}"
    if parts[0] == "down":
        return "transition", "stage 2"
    return ("stem", "stem") if parts[0] == "conv" else ("classifier", "classifier")


FAMILY = TinyFamily()
