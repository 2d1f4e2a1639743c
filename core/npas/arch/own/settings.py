"""What a module does with its weights, as far as torch itself says it: a digest for each part."""

import hashlib
import json
from typing import Any

from torch import nn
from torch.nn import functional as F

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
    names = {*getattr(type(module), "__constants__", ())} - _HARMLESS
    said = {name: _plain(getattr(module, name, None)) for name in names} | _more(module)
    return hashlib.sha256(json.dumps([path, kind, said], sort_keys=True).encode()).hexdigest()[:8]


def _kind(module: nn.Module) -> str:
    """Return the name of a class; norms that differ in who is asked are of one."""
    return "BatchNorm" if isinstance(module, BATCH_NORM) else type(module).__name__


def _more(module: nn.Module) -> dict[str, Any]:
    """Return settings that torch does not list; some only where they are not the default."""
    if isinstance(module, nn.MultiheadAttention):
        zero = {"add_zero_attn": True} if module.add_zero_attn else {}
        return {"num_heads": module.num_heads, **zero}
    if isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
        activation = module.activation
        if activation is not F.relu and not isinstance(activation, nn.Module):
            return {"activation": getattr(activation, "__name__", type(activation).__name__)}
    return {}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value if isinstance(value, _PLAIN) else type(value).__name__
