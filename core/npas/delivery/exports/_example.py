"""The example that an export is traced and compared with: read, and tried before anything else."""

import inspect
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from npas.delivery.exports._target import Order
from npas.errors import InvalidSpecError
from npas.torch_internals import lacks_memory

Example = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
"""One input (B, ...), several in the order of forward, or by its names for them."""

_WRAP = "write a module around it whose forward"


def inputs_of(example: object, networks: Sequence[nn.Module]) -> tuple[Tensor, ...] | None:
    """Return the inputs of an example in the order of forward, None where none is given.

    Args:
        example: see `Example`.
        networks: that read it.

    Raises:
        InvalidSpecError: it is none, or forward has no such inputs.
    """
    if example is None:
        return None
    given = example
    if isinstance(example, Mapping):
        given = _in_order(example, networks)
    elif isinstance(example, Tensor):
        given = (example,)
    is_fit = isinstance(given, list | tuple) and all(
        isinstance(each, Tensor) and each.dim() and len(each) for each in given
    )
    if not is_fit or not given:
        parts = given if isinstance(given, list | tuple) else [given]
        raise InvalidSpecError(
            f"the example is {', '.join(map(_told, parts)) or 'empty'}: give an input as a tensor "
            "(B, ...), or a tuple of several in the order of forward or a mapping by its names, "
            f"each of at least one example; where forward wants another thing, {_WRAP} takes "
            "tensors alone"
        )
    assert isinstance(given, list | tuple)
    return tuple(given)


def _in_order(example: Mapping[str, object], networks: Sequence[nn.Module]) -> tuple[object, ...]:
    orders = set()
    for network in networks:
        try:
            bound = inspect.signature(network.forward).bind(**example)
        except TypeError as error:
            raise InvalidSpecError(
                f"the example does not fit forward{inspect.signature(network.forward)}: {error}"
            ) from error
        orders.add(tuple(bound.arguments) if not bound.kwargs else None)
    if len(orders) > 1 or None in orders:
        raise InvalidSpecError(
            f"the inputs {', '.join(example)} cannot be given one after the other, as files take "
            f"them: {_WRAP} takes them so"
        )
    (order,) = orders
    return tuple(example[name] for name in order or ())


def check_example(order: Order) -> None:
    """Refuse what the network does not run on, and outputs that a file cannot have.

    It comes before a tracer tells of it in its own words.

    Raises:
        InvalidSpecError: one of these.
    """
    try:
        found = _run(order)
    except Exception as error:  # the module is the user's: it may raise anything
        if lacks_memory(error):
            raise
        shapes = ", ".join(f"{each.dtype} {tuple(each.shape)}" for each in order.example)
        raise InvalidSpecError(
            f"the network does not run on the example, {shapes} ({type(error).__name__}: "
            f"{error}); give what its forward takes, in its order"
        ) from error
    parts = list(found) if isinstance(found, list | tuple) else [found]
    is_fit = all(isinstance(each, Tensor) for each in parts)
    if not is_fit or len(parts) != len(order.outputs):
        raise InvalidSpecError(
            f"forward returns {', '.join(map(_told, parts)) or 'nothing'}: a file has one tensor "
            f"of each network, here {', '.join(order.outputs)}; {_WRAP} returns that tensor alone"
        )


def _told(part: object) -> str:
    return f"a tensor {tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__


def outputs_of(order: Order) -> list[Tensor]:
    """Return what the network gives for the example."""
    found = _run(order)
    return [found] if isinstance(found, Tensor) else list(found)


def _run(order: Order) -> Tensor | Sequence[Tensor]:
    with torch.no_grad():
        found: Tensor | Sequence[Tensor] = order.module(*order.example)
    return found
