"""MIMO: one network that reads several images at once and answers each; of one image, an ensemble.

Source: Havasi et al., "Training Independent Subnetworks for Robust Prediction", ICLR 2021,
section 2: in training every head has an image of its own, the batch in another order for each, so
that the answers become independent; the loss is the sum of the heads' losses. To test, all read
the same image. Images are repeated neither among heads nor in the batch: the paper's input
repetition is 0, as its best on CIFAR-10; its batch repetition of 4 would show each image four
times as often as to the other arms.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import npas
import torch
from npas.spec import ArchitectureSpec
from npas.train.evaluate import Tensors, network_names
from npas.train.objective import Objective
from torch import Tensor, nn

from benchmarks.peers.skeleton import Shape


class Mimo(nn.Module):
    """A wide residual network with several inputs and outputs.

    Attributes:
        network_names: of the heads.
        network: reads the images of all heads, channel after channel.
    """

    def __init__(self, shape: Shape, *, heads: int) -> None:
        super().__init__()
        self.network_names = tuple(f"head{number}" for number in range(1, heads + 1))
        self.network = npas.build(
            ArchitectureSpec(
                name=f"wrn-{shape.depth}-{shape.width}",
                num_classes=heads * shape.num_classes,
                input_channels=heads * shape.input_channels,
                options={"scale": shape.scale},
            )
        )

    def members(self, x: Tensors) -> dict[str, Tensor]:
        """Return the logits (B, classes) of every head.

        Args:
            x: images (B, channels, H, W) that all heads read, or for each head its own.
        """
        each = [x if isinstance(x, Tensor) else x[name] for name in self.network_names]
        said = self.network(torch.cat(each, dim=1)).chunk(len(each), dim=1)
        return dict(zip(self.network_names, said, strict=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnImages(Objective):
    """Gives every head the batch in an order of its own, and the labels to match."""

    def __call__(
        self,
        model: nn.Module,
        images: Tensors,
        labels: Tensors,
        names: Sequence[str] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the sum of the heads' losses, and the counts of the metric over all heads."""
        assert isinstance(images, Tensor)
        assert isinstance(labels, Tensor)
        # From torch's own generator, which a trainer seeds before each step.
        orders = {
            name: torch.randperm(len(labels)).to(labels.device) for name in network_names(model)
        }
        return Objective.__call__(
            self,
            model,
            {name: images[order] for name, order in orders.items()},
            {name: labels[order] for name, order in orders.items()},
            names,
        )
