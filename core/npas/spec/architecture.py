"""Networks as data."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic.json_schema import SkipJsonSchema

from npas.spec.checked import Spec
from npas.spec.declared import LayerList
from npas.spec.graph import Graph
from npas.spec.limits import Name, Option, named
from npas.spec.module import OWN, ModuleSpec

DECLARED = "declared"
"""The name of all networks that a request declares layer by layer."""

DECLARED_GRAPH = "declared-graph"
"""The name of all networks that a request declares as a graph of modules and functions."""


def _is_none(value: object) -> bool:
    return value is None


class ArchitectureSpec(Spec):
    """A network as data. A plain string is its name with all defaults.

    Sizes that are left out come from the dataset in a job, else from the family's default.
    """

    name: Name = Field(description="wrn-28-10, resnet-56, torchvision:resnet50, ...")
    num_classes: int | None = Field(None, ge=2, le=100_000)
    input_channels: int | None = Field(None, ge=1, le=64)
    input_size: int | None = Field(
        None, ge=4, le=1024, description="height = width, pixels; of text, the most tokens"
    )
    options: dict[Name, Option] = Field(
        default_factory=dict, max_length=16, description="keyword options of the family"
    )
    layers: LayerList | None = Field(None, description="of a network named declared, and no other")
    module: SkipJsonSchema[ModuleSpec | None] = Field(
        None,
        description="of a network that Python gave as a module; no request over HTTP has one",
        exclude_if=_is_none,
    )
    graph: Graph | None = Field(
        None,
        description="of a network named declared-graph, and no other; `npas.declare` writes it",
        exclude_if=_is_none,  # plans and files of networks without one stay as they were
    )

    shorthand: ClassVar[Mapping[str, Any]] = {"type": "string"}
    _shorthand = model_validator(mode="before")(named)

    @model_validator(mode="after")
    def _graph_where_declared(self) -> Self:
        if (self.name == DECLARED_GRAPH) != (self.graph is not None):
            raise ValueError(f"give a graph for the name {DECLARED_GRAPH!r}, and for no other")
        return self

    @model_validator(mode="after")
    def _layers_where_declared(self) -> Self:
        if (self.name == DECLARED) != (self.layers is not None):
            raise ValueError(f"give layers for the name {DECLARED!r}, and for no other")
        if (self.name == OWN) != (self.module is not None):
            raise ValueError(
                f"{OWN!r} is the name of modules that Python gives, as npas.plan(module, ...); "
                "what a request names is built from data: write the module as data with "
                "npas.declare(module, example), or as a list of layers"
            )
        return self

    @property
    def told(self) -> str:
        """The network in words: its name and the options that were given."""
        options = ", ".join(
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in self.options.items()
        )
        return f"{self.name} ({options})" if options else self.name


class NetworkSpec(Spec):
    """One network of a job, under a name of its own."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,40}$")]
    architecture: ArchitectureSpec
