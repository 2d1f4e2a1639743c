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
from npas.tasks import loss, task_of
from npas.train.objective import Objective
from torch import Tensor, nn

from benchmarks.peers.skeleton import Shape


class Mimo(nn.Module):
    """A wide residual network with several inputs and outputs.

    Attributes:
        names: of the heads.
        network: reads the images of all heads, channel after channel.
    """

    def __init__(self, shape: Shape, *, heads: int) -> None:
        super().__init__()
        self.names = tuple(f"head{number}" for number in range(1, heads + 1))
        self.network = npas.build(
            ArchitectureSpec(
                name=f"wrn-{shape.depth}-{shape.width}",
                num_classes=heads * shape.num_classes,
                input_channels=heads * shape.input_channels,
                options={"scale": shape.scale},
            )
        )

    def answers(self, images: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the logits (B, classes) of every head for images (B, channels, H, W) of its own."""
        said = self.network(torch.cat(list(images), dim=1))
        return dict(zip(self.names, said.chunk(len(self.names), dim=1), strict=True))

    def members(self, x: Tensor) -> dict[str, Tensor]:
        """Return the logits of every head for the same images."""
        return self.answers([x] * len(self.names))


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnImages(Objective):
    """Gives every head the batch in an order of its own, and the labels to match."""

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of the heads' losses, and the counts of the metric over all heads."""
        assert isinstance(model, Mimo)
        # From torch's own generator, which a trainer seeds before each step.
        orders = [torch.randperm(len(labels)).to(labels.device) for _ in model.names]
        inputs = self.inputs(images)
        mixed = self.precision == torch.bfloat16
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=mixed):
            logits = model.answers([inputs[order] for order in orders])
        total, hits = inputs.new_zeros(()), torch.zeros(2, dtype=torch.float64).to(labels.device)
        for each, order in zip(logits.values(), orders, strict=True):
            wanted = labels[order]
            smoothing = self.spec.label_smoothing
            total = total + loss(each, wanted, smoothing=smoothing, weights=self.class_weights)
            hits += task_of(wanted).hits(each.detach(), wanted)
        return total, hits
