"""BatchEnsemble: one set of weights, and for each member a sign pattern of rank one.

Source: Wen, Tran & Ba, "BatchEnsemble: An Alternative Approach to Efficient Ensemble and Lifelong
Learning", ICLR 2020, section 3: the weight of member i is W * outer(r_i, s_i), computed for all
members at once as ((x * r_i) W) * s_i. The vectors start as random signs; norms and biases are
each member's own, and the vectors do not decay, as in the authors' code. Difference: a step
minimises the sum of the members' losses, as for all arms here, not their mean: with one seed, on
images that nothing is reported of, the sum reached 47.6 % and the mean 46.6 % at the small size.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.peers.skeleton import PlainLayers, Shape, Skeleton, pooled


class MemberSigns(nn.Module):
    """Multiplies channels by each member's own numbers.

    Attributes:
        coefficients: `(members, channels)`; of this name, so that they never decay.
    """

    def __init__(self, members: int, channels: int) -> None:
        super().__init__()
        signs = 2.0 * torch.randint(2, (members, channels)) - 1
        self.coefficients = nn.Parameter(signs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (members * B, C, ...) to the same shape."""
        own = self.coefficients.repeat_interleave(len(x) // len(self.coefficients), dim=0)
        return x * own.view(*own.shape, *[1] * (x.dim() - 2))


class MemberConvolution(nn.Module):
    """A convolution for all members: signs, the shared weight, signs."""

    def __init__(self, members: int, convolution: nn.Module, num_in: int, num_out: int) -> None:
        super().__init__()
        self.before, self.after = MemberSigns(members, num_in), MemberSigns(members, num_out)
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        """Map (members * B, in, H, W) to (members * B, out, H / stride, W / stride)."""
        return cast(Tensor, self.after(self.convolution(self.before(x))))


class MemberNorms(nn.Module):
    """A batch norm for each member."""

    def __init__(self, members: int, channels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(members))

    def forward(self, x: Tensor) -> Tensor:
        """Map (members * B, C, H, W) to the same shape."""
        parts = x.chunk(len(self.norms))
        return torch.cat([norm(part) for norm, part in zip(self.norms, parts, strict=True)])


class _MemberLayers:
    def __init__(self, members: int) -> None:
        self.members = members

    def convolution(self, num_in: int, num_out: int, kernel: int, stride: int) -> nn.Module:
        shared = PlainLayers().convolution(num_in, num_out, kernel, stride)
        return MemberConvolution(self.members, shared, num_in, num_out)

    def norm(self, channels: int) -> nn.Module:
        return MemberNorms(self.members, channels)


class BatchEnsemble(nn.Module):
    """A wide residual network that is several.

    Attributes:
        network_names: of the members.
    """

    def __init__(self, shape: Shape, *, members: int) -> None:
        super().__init__()
        self.network_names = tuple(f"member{number}" for number in range(1, members + 1))
        layers, channels = _MemberLayers(members), shape.channels
        stem = layers.convolution(shape.input_channels, channels[0], 3, 1)
        self.skeleton = Skeleton(layers, stem, channels, shape.depth)
        self.norm = layers.norm(channels[-1])
        self.before = MemberSigns(members, channels[-1])
        self.after = MemberSigns(members, shape.num_classes)
        self.fc = nn.Linear(channels[-1], shape.num_classes, bias=False)
        self.bias = nn.Parameter(torch.zeros(members, shape.num_classes))

    def members(self, x: Tensor) -> dict[str, Tensor]:
        """Return the logits (B, classes) of every member for images (B, channels, H, W)."""
        features = self.skeleton(x.repeat(len(self.network_names), 1, 1, 1))[-1]
        said = self.after(
            functional.linear(self.before(pooled(features, self.norm)), self.fc.weight)
        )
        parts = zip(
            self.network_names, said.chunk(len(self.network_names)), self.bias, strict=True
        )
        return {name: part + bias for name, part, bias in parts}
