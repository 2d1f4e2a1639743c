"""One network of several that read the same banks, as a network by itself."""

from typing import Any

from torch import Tensor, nn


class Reading(nn.Module):
    """A network that stays where it is: nothing is copied, and it learns what the whole learns.

    Its mode is that of the whole.
    """

    def __init__(self, whole: nn.Module, name: str) -> None:
        """Name one network of a whole.

        Args:
            whole: has `members(x, names)`, see `npas.sharing.model.SharedModel`.
            name: of the network.
        """
        super().__init__()
        self.whole, self.name = whole, name

    @property
    def training(self) -> bool:
        """Tell the mode of the whole; `train` and `eval` change it there."""
        whole: nn.Module | None = self._modules.get("whole")
        return whole is None or whole.training

    @training.setter
    def training(self, mode: bool) -> None:
        """Do nothing: the whole has its mode."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the network `(B, classes)`."""
        whole: Any = self.whole
        logits: dict[str, Tensor] = whole.members(x, [self.name])
        return logits[self.name]
