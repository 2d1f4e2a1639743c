"""A network that runs the nodes of a declared graph, one after the other."""

from typing import Any, cast

from torch import Tensor, nn

from npas.arch.graph.calls import Step


class Part(nn.Module):
    """Holds the modules, parameters and buffers below one part of their names."""


class GraphNetwork(nn.Module):
    """Modules under the names that they were declared with, and the steps that use them.

    State dicts are those of the module that was declared. Nothing but functions of the list is
    called; see `functions` and `stateful`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._graph_steps: tuple[Step, ...] = ()

    def follow(self, steps: tuple[Step, ...]) -> None:
        """Take the steps that forward goes through; the last one makes the answer."""
        self._graph_steps = steps

    @property
    def graph_steps(self) -> tuple[Step, ...]:
        """The steps, in order."""
        return self._graph_steps

    def forward(self, images: Tensor) -> Tensor:
        """Return the answer (B, num_classes) to images (B, channels, S, S)."""
        values: dict[int, Any] = {0: images}
        made: Any = images
        for step in self._graph_steps:
            tensors = [values[number] for number in step.reads]
            for number in step.done:
                del values[number]
            made = values[step.number] = step.call(tensors, images, self.training)
            del tensors
        return cast(Tensor, made)  # nothing is asserted: a tracer has what stands for a tensor
