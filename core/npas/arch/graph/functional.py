"""Functions of graphs that torch has under another signature, or as methods only."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Put tensors behind each other."""
    return torch.cat(list(tensors), dim)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Put tensors beside each other, along a dimension that is new."""
    return torch.stack(list(tensors), dim)


def einsum(operands: Sequence[Tensor], equation: str) -> Tensor:
    """Return the sum of products that an equation describes."""
    return torch.einsum(equation, *operands)


def reshape(input: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the numbers in another shape."""
    return input.reshape(sizes)


def view(input: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the same memory in another shape."""
    return input.view(sizes)


def permute(input: Tensor, dims: Sequence[int]) -> Tensor:
    """Return the dimensions in another order."""
    return input.permute(tuple(dims))


def expand(input: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return a view that repeats dimensions of size 1."""
    return input.expand(sizes)


def repeat(input: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return copies behind each other, along every dimension."""
    return input.repeat(sizes)


def flip(input: Tensor, dims: Sequence[int]) -> Tensor:
    """Return dimensions in reverse."""
    return input.flip(tuple(dims))


def squeeze(input: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Leave out dimensions of size 1."""
    return input.squeeze() if dim is None else input.squeeze(dim)


def split(input: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Return the parts of given sizes."""
    sizes = split_size_or_sections
    return torch.split(input, list(sizes) if isinstance(sizes, tuple) else sizes, dim)


def greatest(input: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Return the largest numbers along a dimension, and where they are."""
    values, places = torch.max(input, dim, keepdim)
    return values, places


def to(input: Tensor, dtype: torch.dtype) -> Tensor:
    """Return numbers of another type."""
    return input.to(dtype)


def getitem(input: Tensor, index: tuple[Any, ...]) -> Tensor:
    """Return a part by numbers, slices, ellipses and new dimensions."""
    return input[index]


def norm(input: Tensor, p: float = 2.0, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Return the p-norm along dimensions."""
    found: Tensor = torch.norm(input, p, dim, keepdim)
    return found


def put(input: Tensor, value: Tensor | float, index: tuple[Any, ...]) -> Tensor:
    """Return a copy in which a part is another."""
    found = input.clone()
    found[index] = value
    return found


def index(input: Tensor, index: Tensor, dim: int = 0) -> Tensor:
    """Return entries along a dimension."""
    parts: tuple[Any, ...] = (*[slice(None)] * dim, index)
    return input[parts]


def item(input: Sequence[Tensor], index: int) -> Tensor:
    """Return one of several tensors that a node made."""
    return input[index]


def full(
    sizes: Sequence[int],
    value: float,
    device: torch.device,
    dtype: torch.dtype | None = torch.float32,
) -> Tensor:
    """Return a tensor of one number."""
    return torch.full(tuple(sizes), value, dtype=dtype, device=device)


def batch_norm_of_batch(
    input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise by the input's own statistics, in evaluation too; standardised weights do so."""
    return F.batch_norm(input, None, None, weight, bias, training=True, momentum=0.0, eps=eps)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    training: bool = False,
    **others: Any,
) -> Tensor:
    """Return scaled dot-product attention, whose weights are dropped at random while training."""
    p = dropout_p if training else 0.0
    return F.scaled_dot_product_attention(query, key, value, attn_mask, p, **others)


def instance_norm(
    input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise each channel of each image."""
    return F.instance_norm(input, weight=weight, bias=bias, eps=eps)


def stochastic_depth(
    input: Tensor, p: float, mode: str = "row", scale_by_keep: bool = True, training: bool = False
) -> Tensor:
    """Zero whole images, or the whole batch, at random while training (Huang et al. 2016).

    Args:
        input: (B, ...).
        p: probability that one is zeroed.
        mode: "row": each image by itself.
        scale_by_keep: whether what is kept grows, so that the mean stays.
        training: whether to.
    """
    if not training or p == 0.0:
        return input
    rows = input.shape[0] if mode == "row" else 1
    kept = input.new_empty((rows, *[1] * (input.dim() - 1))).bernoulli_(1 - p)
    return input * (kept.div_(1 - p) if scale_by_keep else kept)
