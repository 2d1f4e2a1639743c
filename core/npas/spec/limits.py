"""Limits, and forms of values, that several parts of a request have in common."""

from typing import Annotated, Any, Literal

from pydantic import StringConstraints

MAX_PARAMETERS = 1_000_000_000
"""Largest dense network that is planned, in trainable parameters."""

MAX_NETWORKS = 16
"""Most networks of one plan."""

MAX_LAYERS = 4_000
"""Most layers of all networks of one plan."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[\w.:+-]+$")]
Option = bool | int | float | Annotated[str, StringConstraints(max_length=200)]
Auto = Literal["auto"]
AUTO: Auto = "auto"
"""What is chosen for the user; of devices, the best that there is."""


def named(value: Any) -> Any:
    """Let a plain string stand for {"name": string}."""
    return {"name": value} if isinstance(value, str) else value
