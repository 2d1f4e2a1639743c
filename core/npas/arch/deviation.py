"""At what deviation a network's own initialiser starts each weight, read off while it is built.

On the meta device nothing is drawn; but which initialiser is called for which parameter, and with
what, says what it would have drawn. The last call counts.
"""

import functools
import math
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any

from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_variadic

CONSTANT = frozenset({"zero_", "zeros_", "ones_", "fill_", "constant_", "eye_", "dirac_"})
"""Initialisers that draw nothing."""

CHANGES = frozenset({"erfinv_", "mul_", "div_"})
"""What libraries do to weights that were drawn, in place: to cut a normal, or to scale them."""

_FAR = 10.0
"""Deviations from the mean beyond which a normal has nothing."""


class Deviations:
    """The standard deviations of the parameters that were initialised so far, by identity."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[Tensor, float | None]] = {}
        self._ends: dict[int, tuple[float, float]] = {}

    def note(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Take note of a call of an initialiser.

        Args:
            name: of the initialiser: of `torch.nn.init`, or a method of tensors.
            args: of the call; the tensor is the first, or the keyword argument "tensor".
            kwargs: of the call.
        """
        given = {k: v for k, v in kwargs.items() if k not in ("tensor", "generator")}
        tensor, rest = (args[0], args[1:]) if args else (kwargs["tensor"], ())
        if name in CONSTANT:
            self._found[id(tensor)] = tensor, None
        elif name in _RULES:
            self._found[id(tensor)] = tensor, _RULES[name](tensor, *rest, **given)
            if name == "uniform_":
                self._ends[id(tensor)] = _ends(*rest, **given)
        elif name in CHANGES and id(tensor) in self._found:
            self._change(name, tensor, *rest, **given)

    def _change(self, name: str, tensor: Tensor, factor: Any = None, **_: Any) -> None:
        """Take note that a tensor was changed in place: by a number, or to a normal that is cut.

        The inverse of the error function makes of a uniform tensor a normal one, cut where the
        uniform one ends, at 1 / sqrt(2) of its scale.
        """
        deviation = self._found[id(tensor)][1]
        if name == "erfinv_" and id(tensor) in self._ends:
            low, high = map(_quantile, self._ends.pop(id(tensor)))
            deviation = _truncated(tensor, a=low, b=high) / math.sqrt(2)
        elif deviation is not None and isinstance(factor, int | float) and factor:
            deviation *= abs(factor) if name == "mul_" else 1 / abs(factor)
        self._found[id(tensor)] = tensor, deviation

    def of(self, parameter: nn.Parameter) -> float | None:
        """Return the deviation of a parameter; None: unknown, or it starts constant."""
        return self._found.get(id(parameter), (parameter, None))[1]


def _fans(tensor: Tensor) -> tuple[int, int]:
    """Return fan-in and fan-out as torch's initialisers take them."""
    taps = math.prod(tensor.shape[2:])
    return tensor.shape[1] * taps, tensor.shape[0] * taps


def _kaiming(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: Any = "leaky_relu"
) -> float:
    return nn.init.calculate_gain(nonlinearity, a) / math.sqrt(_fans(tensor)[mode == "fan_out"])


def _xavier(tensor: Tensor, gain: float = 1.0) -> float:
    return gain * math.sqrt(2 / sum(_fans(tensor)))


def _normal(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> float:  # noqa: ARG001
    return float(std)


def _ends(a: float = 0.0, b: float = 1.0, **ends: float) -> tuple[float, float]:
    """Return between what a uniform tensor is drawn, from the arguments of the call."""
    return ends.get("from", a), ends.get("to", b)


def _uniform(tensor: Tensor, *given: float, **ends: float) -> float:  # noqa: ARG001
    low, high = _ends(*given, **ends)
    return (high - low) / math.sqrt(12)


def _quantile(end: float) -> float:
    """Return where a standard normal lies below with probability (1 + end) / 2."""
    if not -1 < end < 1:
        return math.copysign(_FAR, end)
    return NormalDist().inv_cdf((1 + end) / 2)


def _truncated(
    tensor: Tensor,  # noqa: ARG001
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
) -> float:
    """Return the deviation of a normal that is cut at a and b."""
    low, high = (a - mean) / std, (b - mean) / std
    density = [math.exp(-x * x / 2) / math.sqrt(2 * math.pi) for x in (low, high)]
    mass = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
    shift = (density[0] - density[1]) / mass
    return std * math.sqrt(1 + (low * density[0] - high * density[1]) / mass - shift**2)


def _orthogonal(tensor: Tensor, gain: float = 1.0) -> float:
    return gain / math.sqrt(max(tensor.shape[0], math.prod(tensor.shape[1:])))


def _sparse(tensor: Tensor, sparsity: float, std: float = 0.01) -> float:
    zeros = math.ceil(sparsity * tensor.shape[0]) / tensor.shape[0]
    return std * math.sqrt(1 - zeros)


_RULES: dict[str, Callable[..., float]] = {
    "kaiming_normal_": _kaiming,
    "kaiming_uniform_": _kaiming,
    "xavier_normal_": _xavier,
    "xavier_uniform_": _xavier,
    "normal_": _normal,
    "uniform_": _uniform,
    "trunc_normal_": _truncated,
    "orthogonal_": _orthogonal,
    "sparse_": _sparse,
}

_SEEN = "is_seen_by_modes"


def let_modes_see_truncated_normal() -> None:
    """Make `torch.nn.init.trunc_normal_` ask torch function modes, as its neighbours there do.

    It does nothing on the meta device and calls nothing that a mode could see, so that what
    transformers start with would stay unknown. Without a mode it is what it was.
    """
    original = nn.init.trunc_normal_
    if hasattr(original, _SEEN):  # others may have wrapped it too: that says nothing
        return

    @functools.wraps(original)
    def seen(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if has_torch_function_variadic(tensor):
            answer: Tensor = handle_torch_function(seen, (tensor,), tensor, *args, **kwargs)
            return answer
        return original(tensor, *args, **kwargs)

    setattr(seen, _SEEN, True)
    nn.init.trunc_normal_ = seen
