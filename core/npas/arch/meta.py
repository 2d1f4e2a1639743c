"""Building networks without their numbers: on the meta device, or without initialising them."""

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from npas.arch.deviation import CHANGES, CONSTANT, Deviations, let_modes_see_truncated_normal

let_modes_see_truncated_normal()

RANDOM_INITIALISERS = frozenset(
    {
        *("uniform_", "normal_", "trunc_normal_", "orthogonal_", "sparse_", "dirac_"),
        *("xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_"),
    }
)
_NOTED = RANDOM_INITIALISERS | CONSTANT | CHANGES

CONSTRUCTORS = frozenset(
    {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye}
)
"""arange and linspace stay real: networks compute their own sizes with them (RegNet's widths)."""


class SkipInit(TorchFunctionMode):
    """Make building fast: random initialisers write zeros, and with "meta" no memory is taken.

    Args:
        device: where new tensors go; "meta" for planning, a real device for loading.

    Attributes:
        deviations: what the initialisers would have drawn.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self._device = torch.device(device)
        self.deviations = Deviations()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Answer one torch call: random initialisers return their tensor as it is."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _NOTED:
            self.deviations.note(name, args, kwargs)
        if name in RANDOM_INITIALISERS:
            return _blank(args[0] if args else kwargs["tensor"])
        if func in CONSTRUCTORS and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": self._device}
        return func(*args, **kwargs)


def _blank(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor of zeros: trunc_normal_ draws for ever from what was in memory."""
    if not tensor.is_meta:
        with torch.no_grad():
            tensor.zero_()
    return tensor
