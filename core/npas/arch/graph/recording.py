"""What a network does, as it is read off it: nodes with settings that may still grow."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(kw_only=True, slots=True)
class Recorded:
    """A node that was seen.

    Attributes:
        op: of the graph.
        reads: numbers of the nodes that it reads.
        settings: as the graph will have them.
        name: of a module or parameter.
        path: of the module that was running.
        line: of source that was running.
        tensor: of a constant or a buffer.
    """

    op: str
    reads: tuple[int, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    name: str | None = None
    path: str = ""
    line: str = ""
    tensor: Tensor | None = None
