"""Some images of many, to measure with."""

from collections.abc import Iterator

import torch
from torch import Tensor


def sampled(images: Tensor, num_images: int, batch_size: int, *, seed: int) -> Iterator[Tensor]:
    """Yield batches of images that are drawn without regard to their order, each once at most.

    Datasets may hold one class after the other: the first images say nothing of the rest. Of one
    seed, fewer images are the first of more.

    Args:
        images: (N, ...).
        num_images: to be drawn; all, where there are fewer.
        batch_size: of each; a last one that is not full is left out, unless it is the only one.
        seed: of the order.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)[:num_images]
    for chosen in torch.split(order, batch_size):
        if len(chosen) == batch_size or len(order) < batch_size:
            yield images[chosen]
