"""What networks say of labelled images, each by itself: what all scores of ensembles are made of.

A network is asked once; any subset's answer is a mean of what is kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from npas.data import Inputs
from npas.tasks import mean_log_probs


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Predictions:
    """Of some networks, of the same images.

    Attributes:
        log_p: log-probabilities `(N, classes)` by network, float32, on the CPU.
        labels: int64 `(N,)`, on the CPU.
    """

    log_p: Mapping[str, Tensor]
    labels: Tensor

    @property
    def names(self) -> tuple[str, ...]:
        """Return the networks, in their order."""
        return tuple(self.log_p)

    def together(self, names: Sequence[str]) -> Tensor:
        """Return the log of the mean probability of some networks, float64 `(N, classes)`."""
        return mean_log_probs({name: self.log_p[name] for name in names})

    def joined(self, others: Self) -> Self:
        """Return the predictions of these networks and of others, of the same images."""
        return type(self)(log_p={**self.log_p, **others.log_p}, labels=self.labels)


def predictions(
    networks: Mapping[str, nn.Module],
    images: Tensor,
    labels: Tensor,
    *,
    inputs: Inputs,
    batch_size: int = 500,
    device: torch.device | str = "cpu",
) -> Predictions:
    """Ask every network for every image, in evaluation mode; each is left in the mode it was in.

    Args:
        networks: plain networks by name, on the device; logits `(N, classes)`.
        images: uint8 `(N, C, S, S)`.
        labels: int64 `(N,)`.
        inputs: turns images into what the networks read.
        batch_size: images at a time.
        device: where the networks are.
    """
    trained = [network for network in networks.values() if network.training]
    said: dict[str, list[Tensor]] = {name: [] for name in networks}
    try:
        with torch.inference_mode():
            for network in trained:
                network.eval()
            for part in torch.split(images, batch_size):
                x = inputs(part.to(device))
                for name, network in networks.items():
                    answers = functional.log_softmax(network(x).double(), dim=1)
                    said[name].append(answers.float().cpu())
    finally:
        for network in trained:
            network.train()
    log_p = {name: torch.cat(parts) for name, parts in said.items()}
    return Predictions(log_p=log_p, labels=labels.cpu())
