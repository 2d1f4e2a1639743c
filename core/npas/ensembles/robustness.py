"""What networks say of corrupted images."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from npas import corruptions
from npas.data import Inputs
from npas.ensembles.predictions import Predictions, predictions


class Corrupted(NamedTuple):
    """Of one corruption and severity.

    Attributes:
        corruption: its name.
        severity: 1 to 5.
        predictions: of all networks.
    """

    corruption: str
    severity: int
    predictions: Predictions


def corrupted(
    networks: Mapping[str, nn.Module],
    images: Tensor,
    labels: Tensor,
    *,
    inputs: Inputs,
    batch_size: int = 500,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> Iterator[Corrupted]:
    """Yield what networks say of all images, corrupted in each of 75 ways.

    Source: Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions
    and Perturbations", ICLR 2019; the corruptions are our own, see `npas.corruptions`.

    Args:
        networks: as for `predictions`.
        images: uint8 `(N, C, S, S)`.
        labels: int64 `(N,)`.
        inputs: as for `predictions`.
        batch_size: as for `predictions`.
        device: as for `predictions`.
        seed: of what is random in the corruptions.
    """
    for name in corruptions.NAMES:
        for severity in corruptions.SEVERITIES:
            changed = corruptions.corrupt(images, name, severity, seed=seed)
            found = predictions(
                networks, changed, labels, inputs=inputs, batch_size=batch_size, device=device
            )
            yield Corrupted(name, severity, found)
