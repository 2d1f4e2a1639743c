"""What is known of where a network's weights come from."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Origin:
    """Where the weights of a network come from; empty for weights that were drawn.

    Attributes:
        coded: what the coded file that they were read from had rounded them to, as JSON; a later
            file is rounded to the same while no weight has changed. None: they are from no such
            file.
        squares: mean squared gradients of the parameters, by name, from a training with rounded
            weights: how finely a file of so many bytes rounds each follows from them; else empty.
        aligned: blocks whose hidden units were put in another order when banks were fitted to
            weights; 0 also where `torch.fx` cannot trace the networks.
    """

    coded: dict[str, Any] | None = None
    squares: dict[str, float] = field(default_factory=dict)
    aligned: int = 0
