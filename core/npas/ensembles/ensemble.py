"""Networks that answer together, as one network."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from npas.tasks import mean_log_probs


class Ensemble(nn.Module):
    """The mean of several networks' probabilities.

    Its output is the log of that mean, `(B, classes)`: what reads logits (softmax, arg-max,
    cross-entropy) reads it right.
    """

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.names = tuple(networks)
        self.networks = nn.ModuleList(networks.values())

    @property
    def training(self) -> bool:
        """Tell whether one of the networks is in training mode; `train` and `eval` set all."""
        networks = self._modules.get("networks")
        return networks is None or any(network.training for network in networks.children())

    @training.setter
    def training(self, mode: bool) -> None:
        """Do nothing: the networks have modes of their own."""

    def members(self, x: Tensor) -> dict[str, Tensor]:
        """Return each network's logits `(B, classes)` by name."""
        pairs = zip(self.names, self.networks, strict=True)
        return {name: network(x) for name, network in pairs}

    def forward(self, x: Tensor) -> Tensor:
        """Return the log of the mean probability `(B, classes)`, in the inputs' precision."""
        return mean_log_probs(self.members(x)).to(x.dtype)

    @torch.no_grad()
    def probabilities(self, x: Tensor) -> Tensor:
        """Return the mean probability `(B, classes)`."""
        return self.forward(x).exp()
