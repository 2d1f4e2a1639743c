"""Aggregated residual networks for small images: resnext-29-8x64.

Source: Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", CVPR 2017,
section 5.3: three bottleneck blocks per stage in ResNeXt-29, C groups of W channels in the first.
"""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from npas.arch.families._residual import Residual
from npas.arch.families._small_images import SmallImageFamily, ends, scale_of, scaled
from npas.spec import ArchitectureSpec


class Block(nn.Module):
    """1x1, grouped 3x3 and 1x1 convolutions, normalisation after each."""

    def __init__(
        self, num_in: int, stride: int, *, num_mid: int, num_out: int, groups: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_in, num_mid, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(num_mid)
        self.conv2 = nn.Conv2d(
            num_mid, num_mid, 3, stride=stride, padding=1, groups=groups, bias=False
        )
        self.norm2 = nn.BatchNorm2d(num_mid)
        self.conv3 = nn.Conv2d(num_mid, num_out, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(num_out)
        self.shortcut: nn.Module | None = None
        if num_in != num_out or stride > 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(num_in, num_out, 1, stride=stride, bias=False), nn.BatchNorm2d(num_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride)."""
        residual = F.relu(self.norm1(self.conv1(x)), inplace=True)
        residual = F.relu(self.norm2(self.conv2(residual)), inplace=True)
        residual = self.norm3(self.conv3(residual))
        return F.relu(residual + (x if self.shortcut is None else self.shortcut(x)), inplace=True)


class ResNeXt(Residual):
    """Stem of 64 channels, stages that end in 256, 512, 1024 channels."""

    def __init__(
        self,
        num_blocks: int,
        groups: int,
        width: int,
        scale: float,
        num_classes: int,
        input_channels: int,
    ) -> None:
        stages = []
        for factor in (1, 2, 4):
            mid, out = groups * scaled(width * factor, scale), scaled(256 * factor, scale)
            stages.append((out, partial(Block, num_mid=mid, num_out=out, groups=groups)))
        super().__init__(scaled(64, scale), stages, num_blocks, num_classes, input_channels)


class ResNeXtFamily(SmallImageFamily):
    """resnext-DEPTH-GROUPSxWIDTH, DEPTH = 9 n + 2."""

    title = "Aggregated residual network for small images, grouped convolutions"
    example = "resnext-29-8x16"
    form = "resnext-{}-{}x{}"
    depth = (9, 2, 1, 100)
    most = (64, 256)

    def names(self) -> list[str]:
        """Return the sizes of the paper, and smaller ones."""
        sizes = ("1x64", "2x64", "4x64", "8x16", "8x64", "16x64", "32x4")
        return [f"resnext-{depth}-{size}" for depth in (11, 29) for size in sizes]

    def build(self, spec: ArchitectureSpec) -> nn.Module:
        """Return the network; InvalidSpecError for numbers that are not allowed."""
        num_blocks, groups, width = self.read(spec)
        return ResNeXt(num_blocks, groups, width, scale_of(spec), *ends(spec))


FAMILY = ResNeXtFamily()
