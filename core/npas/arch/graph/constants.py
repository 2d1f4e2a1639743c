"""Numbers that a graph comes with, in text: base64 of zlib of their bytes, little-endian."""

import base64
import binascii
import math
import sys
import zlib

import torch
from torch import Tensor

from npas.arch.graph.settings import DTYPES, UnfitSettingError
from npas.spec.graph import MAX_DATA, Constant

MAX_ELEMENTS = 2**22
"""Numbers of all constants of a graph."""


def written(tensor: Tensor) -> Constant:
    """Return a tensor as a graph says it.

    Raises:
        UnfitSettingError: it is too large, or of a type that graphs do not have.
    """
    names = [name for name, dtype in DTYPES.items() if dtype == tensor.dtype]
    if not names or tensor.numel() > MAX_ELEMENTS or tensor.numel() == 0:
        raise UnfitSettingError(
            f"a constant of {tensor.numel():,} numbers of {tensor.dtype}; allowed are 1 to "
            f"{MAX_ELEMENTS:,} of {', '.join(DTYPES)}"
        )
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    text = base64.b64encode(zlib.compress(data, 9)).decode()
    if len(text) > MAX_DATA:
        raise UnfitSettingError(
            f"a constant of {tensor.numel():,} numbers takes {len(text):,} characters; at most "
            f"{MAX_DATA:,} are sent"
        )
    return Constant(dtype=names[0], shape=tuple(tensor.shape), data=text)


def num_elements(constant: Constant) -> int:
    """Return how many numbers a constant says it has."""
    return math.prod(constant.shape)


def read(constant: Constant) -> Tensor:
    """Return the tensor; no more is unpacked than its shape says.

    Raises:
        UnfitSettingError: it is not what it says.
    """
    assert sys.byteorder == "little"
    if constant.dtype not in DTYPES:
        raise UnfitSettingError(f"dtype {constant.dtype!r}; known: {', '.join(DTYPES)}")
    dtype = DTYPES[constant.dtype]
    num_bytes = num_elements(constant) * dtype.itemsize
    try:
        unpacking = zlib.decompressobj()
        data = unpacking.decompress(base64.b64decode(constant.data, validate=True), num_bytes + 1)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise UnfitSettingError(f"data is not base64 of zlib: {error}") from None
    if len(data) != num_bytes:
        raise UnfitSettingError(
            f"data holds {'more than ' * (len(data) > num_bytes)}{min(len(data), num_bytes):,} "
            f"bytes; its shape and dtype take {num_bytes:,}"
        )
    if dtype == torch.bool and max(data) > 1:
        raise UnfitSettingError("data of bool holds other bytes than 0 and 1")
    found = torch.frombuffer(bytearray(data), dtype=dtype).reshape(constant.shape)
    if dtype.is_floating_point and bool(found.isnan().any()):
        raise UnfitSettingError("data holds NaN")
    return found
