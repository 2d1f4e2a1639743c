"""Wide residual networks for small images, pre-activation, as the founding papers use them.

Source: Zagoruyko & Komodakis, "Wide Residual Networks", BMVC 2016, without dropout. The pooling
at the end is global, so any image size of at least 4 pixels works (the papers fix 32).
"""

import re
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from npas.arch.layers import Role, RoleOf
from npas.errors import InvalidSpecError
from npas.spec import ArchitectureSpec, Spec

PATTERN = re.compile(r"wrn-([0-9]{1,4})-([0-9]{1,3})")
MAX_DEPTH, MAX_WIDTH = 1000, 64


class Block(nn.Module):
    """Two 3x3 convolutions with normalisation and activation before each."""

    def __init__(self, num_in: int, num_out: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(num_in)
        self.conv1 = nn.Conv2d(num_in, num_out, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(num_out)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, padding=1, bias=False)
        self.shortcut: nn.Module | None = None
        if num_in != num_out:
            self.shortcut = nn.Conv2d(num_in, num_out, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride)."""
        active = F.relu(self.norm1(x), inplace=True)
        residual = self.conv1(active)
        residual = self.conv2(F.relu(self.norm2(residual), inplace=True))
        return cast(Tensor, residual + (x if self.shortcut is None else self.shortcut(active)))


class WideResNet(nn.Module):
    """Stem, three stages of (depth - 4) / 6 blocks, pooling, one linear layer."""

    def __init__(self, depth: int, width: int, num_classes: int, input_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(input_channels, 16, 3, padding=1, bias=False)
        self.stages = nn.ModuleList()
        channels = 16
        for stage, stride in enumerate((1, 2, 2)):
            blocks = nn.Sequential()
            for block in range((depth - 4) // 6):
                out = 16 * 2**stage * width
                blocks.append(Block(channels, out, stride if block == 0 else 1))
                channels = out
            self.stages.append(blocks)
        self.norm = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, channels, H, W) to logits (B, classes)."""
        x = self.conv(x)
        for stage in self.stages:
            x = stage(x)
        x = F.relu(self.norm(x), inplace=True)
        return cast(Tensor, self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)))


class WideResNetFamily:
    """wrn-DEPTH-WIDTH, DEPTH = 6 n + 4."""

    title = "Wide residual network, pre-activation"
    example = "wrn-28-10"
    sizes = (10, 3, 32)
    Options = Spec

    def names(self) -> list[str]:
        """Return the sizes that the papers use."""
        return [f"wrn-{d}-{w}" for d in (10, 16, 22, 28, 40) for w in (1, 2, 4, 8, 10)]

    def matches(self, name: str) -> bool:
        """Return whether the name is wrn-D-W."""
        return bool(PATTERN.fullmatch(name))

    def default_size(self, name: str) -> int:  # noqa: ARG002 - the same for every name
        """Return 32 pixels."""
        return self.sizes[2]

    def fits(self, name: str, size: int) -> bool:  # noqa: ARG002 - the same for every name
        """Return whether something is left of the image after two halvings."""
        return size >= 4

    def build(self, spec: ArchitectureSpec) -> nn.Module:
        """Return the network; InvalidSpecError for a depth that is not 6 n + 4."""
        found = PATTERN.fullmatch(spec.name)
        assert found is not None
        depth, width = int(found[1]), int(found[2])
        if depth < 10 or depth > MAX_DEPTH or (depth - 4) % 6:
            near = max(10, min(MAX_DEPTH - 6, 6 * round((depth - 4) / 6) + 4))
            raise InvalidSpecError(
                f"{spec.name}: the depth must be 6 n + 4, from 10 to {MAX_DEPTH}; "
                f"the nearest is wrn-{near}-{max(1, min(MAX_WIDTH, width))}",
                field="/architecture/name",
            )
        if not 1 <= width <= MAX_WIDTH:
            raise InvalidSpecError(
                f"{spec.name}: the width must be from 1 to {MAX_WIDTH}", field="/architecture/name"
            )
        assert spec.num_classes is not None
        assert spec.input_channels is not None
        return WideResNet(depth, width, spec.num_classes, spec.input_channels)

    def role_of(self, spec: ArchitectureSpec) -> RoleOf:  # noqa: ARG002 - the same for every size
        """Return the papers' roles: the first block of a stage is a transition."""
        return role_of


def role_of(name: str) -> tuple[Role, str]:
    """Return (role, stage) of a layer by its name."""
    parts = name.split(".")
    if parts[0] != "stages":
        return ("stem", "stem") if parts[0] == "conv" else ("classifier", "classifier")
    stage = f"stage {int(parts[1]) + 1}"
    if parts[3] == "shortcut":
        return "shortcut", stage
    return ("transition" if parts[2] == "0" else "body"), stage


FAMILY = WideResNetFamily()
