"""Residual networks for small images: resnet-20 to resnet-1202.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2:
shortcuts without parameters (option A). The pooling at the end is global, so any image size of at
least 4 pixels works.
"""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from npas.arch.families._residual import Residual
from npas.arch.families._small_images import (
    SmallImageFamily,
    ends,
    residual_roles,
    scale_of,
    scaled,
)
from npas.arch.layers import Role, RoleOf
from npas.spec import ArchitectureSpec


class Block(nn.Module):
    """Two 3x3 convolutions, normalisation after each."""

    def __init__(self, num_in: int, stride: int, *, num_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_in, num_out, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(num_out)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(num_out)
        self.stride, self.num_new = stride, num_out - num_in

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride)."""
        residual = F.relu(self.norm1(self.conv1(x)), inplace=True)
        residual = self.norm2(self.conv2(residual))
        if self.num_new or self.stride > 1:
            half = self.num_new // 2
            new = (half, self.num_new - half)
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *new))
        return F.relu(residual + x, inplace=True)


class ResNet(Residual):
    """Three stages of (depth - 2) / 6 blocks of 16, 32, 64 channels."""

    def __init__(
        self, num_blocks: int, scale: float, num_classes: int, input_channels: int
    ) -> None:
        widths = [scaled(width, scale) for width in (16, 32, 64)]
        stages = [(out, partial(Block, num_out=out)) for out in widths]
        super().__init__(widths[0], stages, num_blocks, num_classes, input_channels)


class ResNetFamily(SmallImageFamily):
    """resnet-DEPTH, DEPTH = 6 n + 2."""

    title = "Residual network for small images, shortcuts without parameters"
    example = "resnet-56"
    form = "resnet-{}"
    depth = (6, 2, 1, 200)
    elsewhere = " (for ImageNet's ResNets: torchvision:resnet50)"

    def names(self) -> list[str]:
        """Return the sizes of the paper, and the smallest."""
        return [f"resnet-{depth}" for depth in (8, 14, 20, 32, 44, 56, 110, 1202)]

    def build(self, spec: ArchitectureSpec) -> nn.Module:
        """Return the network; InvalidSpecError for a depth that is not 6 n + 2."""
        (num_blocks,) = self.read(spec)
        return ResNet(num_blocks, scale_of(spec), *ends(spec))

    def role_of(self, spec: ArchitectureSpec) -> RoleOf:  # noqa: ARG002 - the same for every size
        """Return the papers' roles: the first block of stages 2 and 3 is a transition."""
        return _role_of


def _role_of(name: str) -> tuple[Role, str]:
    """Return (role, stage); the first stage keeps the stem's width."""
    role, stage = residual_roles(name)
    return ("body" if name.startswith("stages.0.") else role), stage


FAMILY = ResNetFamily()
