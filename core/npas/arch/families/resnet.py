"""Residual networks for small images: resnet-20 to resnet-1202.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2:
shortcuts without parameters (option A). The pooling at the end is global, so any image size of at
least 4 pixels works.
"""

import re
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from npas.arch.layers import Role, RoleOf
from npas.errors import InvalidSpecError
from npas.spec import ArchitectureSpec, Spec

PATTERN = re.compile(r"resnet-([0-9]{1,5})")
MAX_DEPTH = 1202


class Block(nn.Module):
    """Two 3x3 convolutions, normalisation after each."""

    def __init__(self, num_in: int, num_out: int, stride: int) -> None:
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
        if self.num_new:
            half = self.num_new // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
        return F.relu(residual + x, inplace=True)


class ResNet(nn.Module):
    """Stem, three stages of (depth - 2) / 6 blocks of 16, 32, 64 channels, one linear layer."""

    def __init__(self, depth: int, num_classes: int, input_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(input_channels, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.stages = nn.ModuleList()
        channels = 16
        for out, stride in ((16, 1), (32, 2), (64, 2)):
            blocks = nn.Sequential()
            for block in range((depth - 2) // 6):
                blocks.append(Block(channels, out, stride if block == 0 else 1))
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


class ResNetFamily:
    """resnet-DEPTH, DEPTH = 6 n + 2."""

    title = "Residual network for small images, shortcuts without parameters"
    example = "resnet-56"
    sizes = (10, 3, 32)
    Options = Spec

    def names(self) -> list[str]:
        """Return the sizes of the paper, and the smallest."""
        return [f"resnet-{depth}" for depth in (8, 14, 20, 32, 44, 56, 110, 1202)]

    def matches(self, name: str) -> bool:
        """Return whether the name is resnet-N."""
        return bool(PATTERN.fullmatch(name))

    def default_size(self, name: str) -> int:  # noqa: ARG002 - the same for every name
        """Return 32 pixels."""
        return self.sizes[2]

    def fits(self, name: str, size: int) -> bool:  # noqa: ARG002 - the same for every name
        """Return whether something is left of the image after two halvings."""
        return size >= 4

    def build(self, spec: ArchitectureSpec) -> nn.Module:
        """Return the network; InvalidSpecError for a depth that is not 6 n + 2."""
        found = PATTERN.fullmatch(spec.name)
        assert found is not None
        depth = int(found[1])
        if depth < 8 or depth > MAX_DEPTH or (depth - 2) % 6:
            near = max(8, min(MAX_DEPTH, 6 * round((depth - 2) / 6) + 2))
            raise InvalidSpecError(
                f"{spec.name}: the depth must be 6 n + 2, from 8 to {MAX_DEPTH}; "
                f"the nearest is resnet-{near} (for ImageNet's ResNets: torchvision:resnet50)",
                field="/architecture/name",
            )
        assert spec.num_classes is not None
        assert spec.input_channels is not None
        return ResNet(depth, spec.num_classes, spec.input_channels)

    def role_of(self, spec: ArchitectureSpec) -> RoleOf:  # noqa: ARG002 - the same for every size
        """Return the papers' roles: the first block of stages 2 and 3 is a transition."""
        return role_of


def role_of(name: str) -> tuple[Role, str]:
    """Return (role, stage) of a layer by its name."""
    parts = name.split(".")
    if parts[0] != "stages":
        return ("stem", "stem") if parts[0] == "conv" else ("classifier", "classifier")
    is_transition = parts[2] == "0" and parts[1] != "0"
    return ("transition" if is_transition else "body"), f"stage {int(parts[1]) + 1}"


FAMILY = ResNetFamily()
