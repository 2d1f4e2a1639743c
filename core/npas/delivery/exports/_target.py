"""What a format of exports promises, and what it is asked with."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from npas.spec.export import ExportSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A network that is to be written.

    Attributes:
        networks: plain, by name, with the weights that they have in `module`.
        module: what computes: tensors in; logits out, of several networks a tuple, in order.
        example: of its inputs; 2 examples, or 1 where the batch is fixed.
        spec: what was asked for.
    """

    networks: dict[str, nn.Module]
    module: nn.Module
    example: tuple[Tensor, ...]
    spec: ExportSpec

    @property
    def inputs(self) -> list[str]:
        """Return names for what `module` takes."""
        count = len(self.example)
        return ["input"] if count == 1 else [f"input_{index}" for index in range(count)]

    @property
    def outputs(self) -> list[str]:
        """Return names for what `module` gives."""
        names = list(self.networks)
        return names if len(names) > 1 else ["logits"]


class Target(Protocol):
    """A format.

    Attributes:
        name: as users write it.
        title: one line.
        file_name: as jobs deliver it.
        options: fields of `ExportSpec` that it reads, but for `to` and `network`.
        is_graph: whether it holds what the network computes; else its weights alone, dense.
        packages: that write it, beside PyTorch.
        extra: of npas, that brings the packages; "" where there are none.
    """

    name: str
    title: str
    file_name: str
    options: frozenset[str]
    is_graph: bool
    packages: Sequence[str]
    extra: str

    def write(self, order: Order, path: Path) -> None:
        """Write the file; the place is a draft's, and moved when it is checked.

        Raises:
            ExportError: the network cannot be written in this format.
        """

    def run(self, order: Order, path: Path) -> list[Tensor] | None:
        """Return what the file gives for the example; None where nothing here can run it."""
