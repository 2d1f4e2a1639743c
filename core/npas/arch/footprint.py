"""What a network costs to run and to keep, counted on the meta device: nothing is computed."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from npas import arch
from npas.errors import InvalidSpecError
from npas.spec import ArchitectureSpec, NetworkSpec
from npas.torch_internals import OperationMode, is_view, storage_number

_aten = torch.ops.aten
_PRODUCTS = {
    _aten.mm: 0,
    _aten.bmm: 0,
    _aten.addmm: 1,
    _aten.baddbmm: 1,
}
"""Operations that multiply matrices, and where the first of the two is among the arguments."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """A tensor that files hold.

    Attributes:
        name: in the network's state.
        dtype: of torch.
        shape: of the tensor.
        is_trained: whether an optimiser changes it.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    is_trained: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """Of one network, and of one batch of a training.

    Attributes:
        macs: multiply-adds of convolutions and matrix products in the forward pass of one image.
        operations: of a forward pass, whatever its batch; each costs time of its own.
        kept_bytes: that a forward pass keeps for the backward pass, parameters left out.
        tensors: parameters and buffers that files hold.
    """

    macs: int
    operations: int
    kept_bytes: int
    tensors: tuple[Stored, ...]


def macs_of(networks: Sequence[NetworkSpec]) -> dict[str, int]:
    """Return the multiply-adds of each network for one image, by its name.

    Raises:
        InvalidSpecError: a module of the user's own was planned without an example.
    """
    # Of two, which is counted for each: some norms refuse to learn from a lone image.
    return {each.name: _macs_of(each.architecture) for each in networks}


def _macs_of(spec: ArchitectureSpec) -> int:
    if spec.module is None:
        return footprint(spec, batch=2).macs
    if spec.module.macs is None:
        raise InvalidSpecError(
            f"what {spec.module.kind} costs to run is known once it was run: plan it with an "
            "example=(x, ...) of what its forward takes"
        )
    return spec.module.macs


def footprint(spec: ArchitectureSpec, *, batch: int) -> Footprint:
    """Return what a network costs; kept for the next call.

    Args:
        spec: resolved.
        batch: images at a time.
    """
    return _footprint(spec.model_dump_json(), batch)


@functools.lru_cache(maxsize=64)
def _footprint(json: str, batch: int) -> Footprint:
    spec = ArchitectureSpec.model_validate_json(json)
    model = arch.build(spec, device="meta").to("meta")
    tensors = _stored(model)
    example = arch.example_input(spec, num_examples=1)
    inputs = torch.empty((batch, *example.shape[1:]), dtype=example.dtype, device="meta")
    # Memory on the meta device has no address; what tells it apart is the object that owns it.
    own = {storage_number(parameter.untyped_storage()) for parameter in model.parameters()}
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if (number := storage_number(storage)) not in own:
            saved[number] = storage.nbytes()
        return tensor  # kept alive by the graph, so that no other takes its place

    counting = Counting()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), counting:
        outputs = model.train()(inputs)
    kept = sum(saved.values())
    del outputs
    return Footprint(
        macs=counting.macs // batch,
        operations=counting.operations,
        kept_bytes=kept,
        tensors=tensors,
    )


def _stored(model: nn.Module) -> tuple[Stored, ...]:
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    return tuple(
        Stored(
            name=name, dtype=tensor.dtype, shape=tuple(tensor.shape), is_trained=name in trained
        )
        for name, tensor in model.state_dict().items()
    )


class Counting(OperationMode):  # type: ignore[misc]  # torch has no public name for its class
    """Counts operations inside of it, and the multiply-adds of those that have many.

    Attributes:
        operations: that compute something.
        macs: multiply-adds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.macs = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do one operation and count it."""
        del types
        out = func(*args, **(kwargs or {}))
        self.operations += not is_view(func)
        kind = func.overloadpacket
        if kind is _aten.convolution:
            is_transposed = args[6]
            self.macs += (args[0] if is_transposed else out).numel() * args[1][0].numel()
        elif kind in _PRODUCTS:
            self.macs += out.numel() * args[_PRODUCTS[kind]].shape[-1]
        return out
