"""What `torch.compile` leaves out of its graphs; imported by code that is being compiled alone.

Composed weights are kept while no bank changes, which no graph can know. So a compiled shared
network puts them in place first, as any other does, and its networks are graphs that read them as
they read any tensor. To import this costs as much time and memory as the compiler itself.
"""

from collections.abc import Callable

import torch

from npas.sharing.model import SharedModel

composed_outside: Callable[[SharedModel], None] = torch.compiler.disable(  # type: ignore[no-untyped-call]  # torch's
    SharedModel.compose,
    reason="shared weights are composed between the graphs: leave fullgraph out, or call "
    "compose() and compile what network(name) returns",
)
"""`SharedModel.compose`, a graph break wherever it is called."""
