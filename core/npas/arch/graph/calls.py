"""What the nodes of a graph do when the network runs: plain objects, no code is made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from npas.arch.graph import settings
from npas.arch.graph.functions import Function
from npas.spec.graph import Batch

Call = Callable[[Sequence[Any], Tensor, bool], Any]
"""(the tensors that a node reads, the images, whether the network is trained) -> what it makes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One node that computes.

    Attributes:
        number: of the node.
        reads: numbers of the nodes that it reads.
        done: numbers of nodes that no later one reads: their memory is let go.
        call: what it does.
    """

    number: int
    reads: tuple[int, ...]
    done: tuple[int, ...]
    call: Call


class ValueCall:
    """Reads a parameter or a buffer, as it is at that moment."""

    def __init__(self, parent: nn.Module, attribute: str) -> None:
        self._parent, self._attribute = parent, attribute

    def __call__(self, tensors: Sequence[Any], images: Tensor, training: bool) -> Any:
        """Return it."""
        del tensors, images, training
        return getattr(self._parent, self._attribute)


class RepeatedCall(ValueCall):
    """Reads a constant and repeats it for each image, along its first dimension."""

    def __call__(self, tensors: Sequence[Any], images: Tensor, training: bool) -> Any:
        """Return it."""
        value = super().__call__(tensors, images, training)
        return value.repeat(images.shape[0], *[1] * (value.dim() - 1))


class ModuleCall:
    """Runs a module; found by its name each time, so that it may be replaced."""

    def __init__(self, parent: nn.Module, attribute: str, more: Mapping[str, Any]) -> None:
        self._parent, self._attribute, self._more = parent, attribute, dict(more)

    def __call__(self, tensors: Sequence[Any], images: Tensor, training: bool) -> Any:
        """Return what it makes of one tensor."""
        del images, training
        return getattr(self._parent, self._attribute)(*tensors, **self._more)


class AttentionCall(ModuleCall):
    """Runs `nn.MultiheadAttention` on queries, keys, values and maybe a mask."""

    def __call__(self, tensors: Sequence[Any], images: Tensor, training: bool) -> Any:
        """Return the answers and the weights."""
        del images, training
        mask = tensors[3] if len(tensors) > 3 else None
        attention = getattr(self._parent, self._attribute)
        return attention(*tensors[:3], attn_mask=mask, **self._more)


class _Slot:
    """Stands where an input goes."""

    def __init__(self, position: int) -> None:
        self.position = position


class _Slots:
    """Stands where all inputs from a position on go, as a list."""

    def __init__(self, position: int) -> None:
        self.position = position


class FunctionCall:
    """Calls a function of the list with tensors and settings.

    Args:
        function: to call.
        checked: its settings.
        num_inputs: tensors that the node reads.

    Raises:
        UnfitSettingError: it reads another number of tensors.
    """

    def __init__(self, function: Function, checked: Mapping[str, Any], num_inputs: int) -> None:
        self._function = function
        self._lead: tuple[Any, ...] = ()
        self._optional: dict[str, int] = {}
        self._named = dict(checked)
        self._arrange(num_inputs)
        self._scaled = [name for name, value in self._named.items() if _has_batch(value)]

    def _arrange(self, num_inputs: int) -> None:
        lead: list[Any] = []
        position = 0
        for argument in settings.arguments(self._function.signature):
            name = argument.name
            if argument.kind == "operand" and name in self._named:
                lead.append(self._named.pop(name))
            elif argument.kind == "tensors":
                lead.append(_Slots(position))
                position = max(num_inputs, position + 1)
            elif argument.kind == "tensor?":
                if self._named.pop(name, False):
                    self._optional[name] = position
                    position += 1
            elif argument.is_tensor:
                lead.append(_Slot(position))
                position += 1
        if position != num_inputs or (lead and not position):
            raise settings.UnfitSettingError(
                f"{self._function.op} reads {max(position, 1)} tensors with these settings; it "
                f"has {num_inputs} inputs"
            )
        self._lead = tuple(lead)

    def __call__(self, tensors: Sequence[Any], images: Tensor, training: bool) -> Any:
        """Return what it makes."""
        lead = [_filled(each, tensors) for each in self._lead]
        named = dict(self._named)
        for name, position in self._optional.items():
            named[name] = tensors[position]
        for name in self._scaled:
            named[name] = _scaled(named[name], images.shape[0])
        if self._function.knows_training:
            named["training"] = training
        if self._function.knows_device:
            named["device"] = images.device
        return self._function.call(*lead, **named)


def _filled(part: Any, tensors: Sequence[Any]) -> Any:
    if isinstance(part, _Slot):
        return tensors[part.position]
    return tensors[part.position :] if isinstance(part, _Slots) else part


def _has_batch(value: Any) -> bool:
    return isinstance(value, Batch) or (isinstance(value, tuple) and any(map(_has_batch, value)))


def _scaled(value: Any, batch: int) -> Any:
    """Return sizes with the batch filled in; a tuple within an index is a slice."""
    if isinstance(value, Batch):
        return value.batch * batch
    if not isinstance(value, tuple):
        return value
    return tuple(
        slice(*(_scaled(part, batch) for part in each))
        if isinstance(each, tuple)
        else _scaled(each, batch)
        for each in value
    )
