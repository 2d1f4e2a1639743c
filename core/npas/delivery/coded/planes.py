"""Numbers as planes of bytes: all first bytes, then all second ones, which code better apart."""

import numpy as np
from numpy.typing import NDArray

from npas.errors import CheckpointError

MOST_CODE_PLANES = 3
"""A code fits three bytes, so that float32 holds it exactly."""

_BITS = 8
_HALF, _WHOLE = 1 << (_BITS - 1), 1 << _BITS


def num_code_planes(codes: NDArray[np.int32]) -> int:
    """Return how many bytes the largest code takes, at least 1.

    Raises:
        CheckpointError: it takes more than three.
    """
    largest = int(np.abs(codes.astype(np.int64)).max(initial=0))
    for planes in range(1, MOST_CODE_PLANES + 1):
        if largest <= (_HALF - 1) * ((_WHOLE**planes - 1) // (_WHOLE - 1)):
            return planes
    raise CheckpointError(f"a weight is {largest:,} steps from 0: the grid is too fine for it")


def of_codes(codes: NDArray[np.int32], planes: int) -> bytes:
    """Return codes as planes, the lowest bytes first.

    Each byte is a signed digit, -128 to 127, so that the higher planes of small codes are 0.

    Args:
        codes: of all weights.
        planes: as `num_code_planes` says, or more.
    """
    found, rest = [], codes.astype(np.int64)
    for _ in range(planes):
        digits = (rest + _HALF) % _WHOLE - _HALF
        found.append(digits.astype(np.int8).tobytes())
        rest = (rest - digits) >> _BITS
    return b"".join(found)


def to_codes(content: bytes, planes: int) -> NDArray[np.int32]:
    """Return the codes of planes."""
    digits = np.frombuffer(content, np.int8).reshape(planes, -1).astype(np.int32)
    codes = np.zeros(digits.shape[1], np.int32)
    for plane in range(planes):
        codes += digits[plane] << (_BITS * plane)
    return codes


def of_values(values: NDArray[np.float32], planes: int) -> bytes:
    """Return float32 as planes, the highest bytes first: sign and exponent, then the mantissa.

    Args:
        values: whose lower bytes are 0.
        planes: 1 to 4.
    """
    whole = values.astype("<f4").view(np.uint8).reshape(-1, 4)
    return b"".join(whole[:, 3 - plane].tobytes() for plane in range(planes))


def to_values(content: bytes, planes: int) -> NDArray[np.float32]:
    """Return the values of planes."""
    given = np.frombuffer(content, np.uint8).reshape(planes, -1)
    whole = np.zeros((given.shape[1], 4), np.uint8)
    for plane in range(planes):
        whole[:, 3 - plane] = given[plane]
    return whole.view("<f4").reshape(-1).astype(np.float32)
