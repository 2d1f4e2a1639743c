"""Networks that a request declares as a graph of modules and functions; see `npas.declare`."""

from torch import nn

from npas.arch.families._small_images import ends
from npas.arch.graph import building, shapes
from npas.arch.layers import RoleOf
from npas.spec import DECLARED_GRAPH, ArchitectureSpec, Spec
from npas.spec.graph import Graph


def branches(num_classes: int, channels: int, width: int = 16) -> Graph:
    """Return a graph that comes along: two convolutions read what a third one makes.

    Args:
        num_classes: numbers of the answer.
        channels: of an image.
        width: channels of each convolution.
    """

    def conv(num_in: int, num_out: int, kernel: int) -> dict[str, object]:
        settings = {"in_channels": num_in, "out_channels": num_out, "kernel_size": kernel}
        return {"op": "Conv2d", "settings": {**settings, "padding": kernel // 2, "bias": False}}

    kinds = (
        *(conv(channels, width, 3), conv(width, width, 3), conv(width, width, 1)),
        *({"op": "BatchNorm2d", "settings": {"num_features": width}}, {"op": "relu"}),
        *({"op": "add"}, {"op": "max_pool2d", "settings": {"kernel_size": 2}}),
        {"op": "mean", "settings": {"dim": [2, 3]}},
        {"op": "Linear", "settings": {"in_features": width, "out_features": num_classes}},
    )
    nodes = (
        *({"kind": 0, "name": "stem.conv"}, {"kind": 3, "name": "stem.norm"}, {"kind": 4}),
        *({"kind": 1, "name": "wide"}, {"kind": 2, "name": "small", "inputs": [3]}),
        *({"kind": 5, "inputs": [4, 5]}, {"kind": 3, "name": "norm"}, {"kind": 4}),
        *({"kind": 6}, {"kind": 1, "name": "last"}, {"kind": 5, "inputs": [9, 10]}),
        *({"kind": 7}, {"kind": 8, "name": "classifier"}),
    )
    return Graph.model_validate({"kinds": kinds, "nodes": nodes})


EXAMPLE = f"{DECLARED_GRAPH}:branches"


class DeclaredGraphFamily:
    """declared-graph, with `graph`; declared-graph:branches comes along."""

    title = "Network declared as a graph"
    example = EXAMPLE
    sizes = (10, 3, 32)
    Options: type[Spec] = Spec

    def names(self) -> list[str]:
        """Return the graph that comes along."""
        return [EXAMPLE]

    def matches(self, name: str) -> bool:
        """Return whether the name is that of all declared graphs, or of the one here."""
        return name in (DECLARED_GRAPH, EXAMPLE)

    def default_size(self, name: str) -> int:  # noqa: ARG002 - one for all
        """Return 32 pixels; `npas.declare` says a network's own size."""
        return self.sizes[2]

    def fits(self, name: str, size: int) -> bool:  # noqa: ARG002 - building tells
        """Return True: building a graph follows its shapes, and tells."""
        return True

    def build(self, spec: ArchitectureSpec) -> nn.Module:
        """Return the network; InvalidSpecError where its graph is not one, with the place."""
        num_classes, channels = ends(spec)
        assert spec.input_size is not None
        graph = spec.graph or branches(num_classes, channels)
        shapes.check(graph, (channels, spec.input_size, spec.input_size), num_classes)
        return building.build(graph)

    def narrower(self, spec: ArchitectureSpec, factor: float) -> ArchitectureSpec | None:  # noqa: ARG002
        """Return None: the sizes of a graph are numbers among its settings."""
        return None

    def role_of(self, spec: ArchitectureSpec) -> RoleOf | None:  # noqa: ARG002 - general rule
        """Return None: the general rule."""
        return None


FAMILY = DeclaredGraphFamily()
