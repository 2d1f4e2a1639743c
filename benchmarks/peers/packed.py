"""Packed-Ensembles: small networks side by side in one, kept apart by groups.

Source: Laurent et al., "Packed-Ensembles for Efficient Uncertainty Estimation", ICLR 2023,
section 3: M members, widened by alpha together, each split into gamma groups of its own. The stem
reads the one image for all, the last layer answers for each member from its own channels alone.
"""

import torch
from torch import Tensor, nn

from benchmarks.peers.skeleton import PlainLayers, Shape, Skeleton, pooled


class _GroupedLayers:
    def __init__(self, groups: int) -> None:
        self.groups = groups

    def convolution(self, num_in: int, num_out: int, kernel: int, stride: int) -> nn.Module:
        made = nn.Conv2d(
            num_in,
            num_out,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=self.groups,
            bias=False,
        )
        nn.init.kaiming_normal_(made.weight)
        return made

    def norm(self, channels: int) -> nn.Module:
        return nn.BatchNorm2d(channels)


class PackedEnsemble(nn.Module):
    """A wide residual network whose channels belong to one member each.

    Attributes:
        network_names: of the members.
    """

    def __init__(self, shape: Shape, *, members: int, alpha: float, gamma: int) -> None:
        super().__init__()
        self.network_names = tuple(f"member{number}" for number in range(1, members + 1))
        groups = members * gamma
        first, *others = (groups * max(1, round(alpha * c / groups)) for c in shape.channels)
        channels = first, others[0], others[1], others[2]
        stem = PlainLayers().convolution(shape.input_channels, first, 3, 1)
        self.skeleton = Skeleton(_GroupedLayers(groups), stem, channels, shape.depth)
        self.norm = nn.BatchNorm2d(channels[-1])
        self.heads = nn.Conv2d(channels[-1], members * shape.num_classes, 1, groups=members)
        assert self.heads.bias is not None
        nn.init.zeros_(self.heads.bias)

    def members(self, x: Tensor) -> dict[str, Tensor]:
        """Return the logits (B, classes) of every member for images (B, channels, H, W)."""
        features = pooled(self.skeleton(x)[-1], self.norm)
        said = torch.flatten(self.heads(features[:, :, None, None]), 1)
        return dict(
            zip(self.network_names, said.chunk(len(self.network_names), dim=1), strict=True)
        )
