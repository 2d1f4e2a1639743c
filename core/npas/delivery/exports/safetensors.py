"""Materialised weights by the names of the original module: for its own `load_state_dict`.

Nothing is shared in such a file: it is as large as the dense network's.
"""

from pathlib import Path

from torch import Tensor

from npas import tensor_file
from npas.delivery.exports._target import Order


class Safetensors:
    """The format; see `_target.Target`."""

    name = "safetensors"
    title = "safetensors: plain weights for the original module"
    file_name = "weights.safetensors"
    options: frozenset[str] = frozenset()
    is_graph = False
    packages = ()
    extra = ""

    def write(self, order: Order, path: Path) -> None:
        """Write the file; see `Target`."""
        several = len(order.networks) > 1
        tensors = {
            f"{network}.{name}" if several else name: tensor.clone()
            for network, module in order.networks.items()
            for name, tensor in module.state_dict().items()
        }
        tensor_file.write(tensors, path, {"format": "pt"})

    def run(self, order: Order, path: Path) -> list[Tensor] | None:  # noqa: ARG002
        """Return None: a file of weights runs nothing."""
        return None


TARGET = Safetensors()
