"""What rounding a weight to whole steps costs in bits, and which tensors are rounded so."""

import functools
import math

FINEST, COARSEST = 1 / 4096, 4.0
"""Steps in standard deviations of the weights: below the first nothing is gained; beyond the
second, less than one weight in twenty is not 0."""

PLAIN_BITS = 32
"""Of a weight that is not rounded."""

_MOST_TERMS = 12


def is_weight(name: str, kind: str, num_dimensions: int, *, is_buffer: bool) -> bool:
    """Tell whether a tensor of a shared network's state is put on a grid.

    Templates and weights of layers are. Coefficients, norms, biases and statistics are few, and
    one that is off moves many weights. A buffer, such as a mask, is no weight: nothing is known of
    what an error in it costs.

    Args:
        name: in the state.
        kind: its type, such as "torch.float32".
        num_dimensions: of the tensor.
        is_buffer: whether it is a buffer of a network, not a parameter.
    """
    is_large = kind == "torch.float32" and num_dimensions > 1
    return is_large and not is_buffer and ".coefficients." not in name


@functools.lru_cache(maxsize=1024)
def bits_of(step: float) -> float:
    """Return the entropy of a normal number rounded to whole steps, in bits.

    From fine steps on it is log2(sqrt(2 pi e) / step), Gish & Pierce, 1968.

    Args:
        step: in standard deviations.
    """
    if step < 1 / 8:
        return math.log2(math.sqrt(2 * math.pi * math.e) / step)
    found, codes = 0.0, math.ceil(_MOST_TERMS / step)
    for code in range(-codes, codes + 1):
        share = _below((code + 0.5) * step) - _below((code - 0.5) * step)
        found -= share * math.log2(share) if share > 0 else 0.0
    return found


def step_for(bits: float) -> float:
    """Return the step whose entropy is this, in standard deviations, within what is allowed."""
    low, high = FINEST, COARSEST
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if bits_of(middle) > bits else (low, middle)
    return float(f"{high:.4g}")


def _below(value: float) -> float:
    """Return the share of normal numbers below a value."""
    return 0.5 * math.erfc(-value / math.sqrt(2))
