"""The tensors of a module that a file holds: each once, with all its names."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from npas.torch_internals import buffers_of, is_kept_in_files, storage_number


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Held:
    """One tensor of a module.

    Attributes:
        names: all that it has; the first is that of the file.
        tensor: itself, not a copy.
        kind: whether an optimiser changes it, or it is a buffer.
    """

    names: tuple[str, ...]
    tensor: Tensor
    kind: Literal["trained", "frozen", "buffer"]

    @property
    def name(self) -> str:
        """Its first name."""
        return self.names[0]


def held(module: nn.Module) -> list[Held]:
    """Return the parameters, then the buffers, that a file of a module holds.

    A tensor that is registered in several places is one. Buffers that the module itself leaves
    out of its state are left out.
    """
    parameters = _named(module.named_parameters(remove_duplicate=False))
    buffers = _named(_buffers(module))
    return [
        *(
            Held(names=names, tensor=each, kind="trained" if each.requires_grad else "frozen")
            for names, each in parameters
        ),
        *(Held(names=names, tensor=each, kind="buffer") for names, each in buffers),
    ]


def _buffers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for path, inner in module.named_modules(remove_duplicate=False):
        for name, buffer in buffers_of(inner).items():
            if buffer is not None and is_kept_in_files(inner, name):
                yield f"{path}.{name}" if path else name, buffer


def _named(pairs: Iterator[tuple[str, Tensor]]) -> list[tuple[tuple[str, ...], Tensor]]:
    """Return tensors with all their names, in the order of the first ones."""
    found: dict[int, tuple[list[str], Tensor]] = {}
    for name, tensor in pairs:
        found.setdefault(id(tensor), ([], tensor))[0].append(name)
    return [(tuple(names), tensor) for names, tensor in found.values()]


def overlap(tensors: list[Held]) -> tuple[Held, Held] | None:
    """Return two tensors that lie in the same memory, at least one of them trained; else None.

    Parts of one storage that lie beside each other, as recurrent layers have them on a GPU, are
    apart.
    """
    ends: dict[str, tuple[int, Held]] = {}
    places = [(*place(each.tensor), each) for each in tensors if each.tensor.numel()]
    for memory, start, end, each in sorted(places, key=lambda found: found[:3]):
        last, other = ends.get(memory, (0, each))
        if start < last and "trained" in (each.kind, other.kind):
            return other, each
        if end >= last:
            ends[memory] = end, each
    return None


def place(tensor: Tensor) -> tuple[str, int, int]:
    """Return in which memory a strided tensor is, its first byte and the byte after the last."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    length = (1 + sum((size - 1) * stride for size, stride in steps)) * tensor.element_size()
    if tensor.is_meta:  # which has no addresses
        start = int(tensor.storage_offset()) * tensor.element_size()
        return f"meta {storage_number(tensor.untyped_storage())}", start, start + length
    start = tensor.data_ptr()
    return str(tensor.device), start, start + length
