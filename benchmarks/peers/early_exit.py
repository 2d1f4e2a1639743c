"""One network that can answer after each stage.

Source: Huang et al., "Multi-Scale Dense Networks for Resource Efficient Image Classification",
ICLR 2018, section 4: classifiers at several depths, trained together, the sum of their losses.
The network here is a plain wide residual network, as for the other arms, not their dense one.
"""

from torch import Tensor, nn

from benchmarks.peers.skeleton import PlainLayers, Shape, Skeleton, pooled


class EarlyExit(nn.Module):
    """A wide residual network with a classifier after each of its three stages.

    Attributes:
        network_names: of the exits, the cheapest first.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        layers, channels = PlainLayers(), shape.channels
        self.network_names = tuple(f"exit{number}" for number in range(1, len(channels)))
        stem = layers.convolution(shape.input_channels, channels[0], 3, 1)
        self.skeleton = Skeleton(layers, stem, channels, shape.depth)
        self.norms = nn.ModuleList(layers.norm(count) for count in channels[1:])
        self.classifiers = nn.ModuleList(nn.Linear(c, shape.num_classes) for c in channels[1:])

    def members(self, x: Tensor) -> dict[str, Tensor]:
        """Return the logits (B, classes) of every exit for images (B, channels, H, W)."""
        stages = zip(
            self.network_names, self.skeleton(x), self.norms, self.classifiers, strict=True
        )
        return {name: fc(pooled(features, norm)) for name, features, norm, fc in stages}

    def until(self, name: str, x: Tensor) -> Tensor:
        """Return the logits of one exit; nothing behind it is computed."""
        place = self.network_names.index(name)
        x = self.skeleton.stem(x)
        for stage in self.skeleton.stages[: place + 1]:
            x = stage(x)
        said: Tensor = self.classifiers[place](pooled(x, self.norms[place]))
        return said
