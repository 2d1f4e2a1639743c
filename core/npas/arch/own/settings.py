"""What a module does with its weights, as far as torch itself says it: a digest for each part."""

import hashlib
import json
from typing import Any

from torch import nn

from npas.torch_internals import BATCH_NORM

_PLAIN = (bool, int, float, str, type(None))
_HARMLESS = frozenset({"inplace"})
"""Settings that change no output."""


def settings(module: nn.Module) -> list[tuple[str, str]]:
    """Return the path of every module inside, the whole first, and a digest of eight letters.

    It is of the class's name, but for the whole, and of those settings that torch's classes list
    as their constants: a stride, a number of heads. What else the user's classes do is not seen.
    """
    return [(path, _digest(path, inner)) for path, inner in module.named_modules()]


def _digest(path: str, module: nn.Module) -> str:
    kind = "" if not path else _kind(module)
    names = {*getattr(type(module), "__constants__", ()), *_more(module)} - _HARMLESS
    said = {name: _plain(getattr(module, name, None)) for name in sorted(names)}
    return hashlib.sha256(json.dumps([path, kind, said]).encode()).hexdigest()[:8]


def _kind(module: nn.Module) -> str:
    """Return the name of a class; norms that differ in who is asked are of one."""
    return "BatchNorm" if isinstance(module, BATCH_NORM) else type(module).__name__


def _more(module: nn.Module) -> tuple[str, ...]:
    """Return settings that torch does not list."""
    return ("num_heads",) if isinstance(module, nn.MultiheadAttention) else ()


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value if isinstance(value, _PLAIN) else type(value).__name__
