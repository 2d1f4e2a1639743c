"""The memory format of the weights of one group: that of parameters in their place."""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from npas.recipes._buffers import buffer
from npas.recipes._memory_format import FORMATS, channels_last, is_as_wanted, shaped


class Layout(nn.Module):
    """What `module.to(memory_format=...)` has asked of weights, which no parameter can tell.

    That call converts every parameter and buffer of 4 or 5 axes that it meets. Banks have 2, so
    that a group which makes such weights has a buffer of as many axes, 2 scalars along each, to
    look at. It is in no state dict.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Begin with weights that are contiguous.

        Args:
            shapes: of the group's weights.
        """
        super().__init__()
        self._ranks = sorted({len(shape) for shape in shapes} & FORMATS.keys())
        for rank in self._ranks:
            self.register_buffer(f"example_{rank}", torch.empty((2,) * rank), persistent=False)
        self._copies: list[Tensor | None] = [None] * len(shapes)

    def ranks(self) -> frozenset[int]:
        """Return for which numbers of axes weights are channels-last."""
        return frozenset(
            rank
            for rank in self._ranks
            if self.get_buffer(f"example_{rank}").is_contiguous(memory_format=FORMATS[rank])
        )

    def follow(self, weights: Sequence[Tensor]) -> None:
        """Make weights lie as these do; of those with one tap nothing can be told."""
        self.change(frozenset(each.dim() for each in weights if _is_last(each)))

    def change(self, ranks: frozenset[int]) -> None:
        """Make weights with these numbers of axes channels-last, all others contiguous."""
        for rank in self._ranks:
            wanted = FORMATS[rank] if rank in ranks else torch.contiguous_format
            name = f"example_{rank}"
            example = self.get_buffer(name).contiguous(memory_format=wanted)
            self.register_buffer(name, example, persistent=False)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Have recipes make weights, and read gradients, in this format as far as they can."""
        with channels_last(self.ranks()):
            yield

    def laid(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Return weights in this format, in memory that is used again; call it `in_use`."""
        return [self._laid(index, weight) for index, weight in enumerate(weights)]

    def _laid(self, index: int, weight: Tensor) -> Tensor:
        if is_as_wanted(weight):
            return weight
        copied = buffer(self._copies[index], (weight.numel(),), weight)
        self._copies[index] = copied
        return shaped(copied, weight.shape).copy_(weight)


def _is_last(weight: Tensor) -> bool:
    """Return whether a weight is channels-last, and not contiguous as well."""
    format_ = FORMATS.get(weight.dim())
    is_last = format_ is not None and weight.is_contiguous(memory_format=format_)
    return is_last and not weight.is_contiguous()
