"""A network as a graph: what the formats that hold one begin with."""

from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from npas.delivery.exports._target import Order
from npas.errors import ExportError
from npas.torch_internals import lacks_memory

_MOST = 300
"""Characters of a reason."""


def traced(order: Order) -> ExportedProgram:
    """Return the graph of a network, its batch as open as asked for.

    Raises:
        ExportError: what it computes depends on its input in a way that no graph has.
    """
    shapes: Any = {0: Dim("batch")} if order.spec.dynamic_batch else None
    each = tuple(shapes for _ in order.example)
    try:
        return torch.export.export(
            order.module, order.example, dynamic_shapes=(each,), strict=False
        )
    except Exception as error:  # of any kind: the network's own code runs in there
        if lacks_memory(error):
            raise
        told = " ".join(str(error).split())[:_MOST]
        advice = "; try dynamic_batch=False" if order.spec.dynamic_batch else ""
        raise ExportError(
            f"torch.export cannot trace this network: {type(error).__name__}: {told}{advice}"
        ) from error
