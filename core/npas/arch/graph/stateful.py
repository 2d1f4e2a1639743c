"""The modules that a graph may have: those of torch that hold weights, with their settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from npas.arch.graph import settings

_CONV = (
    "in_channels:count out_channels:count kernel_size:counts stride:counts=1 padding:padding=0 "
    "{}dilation:counts=1 groups:count=1 bias:flag=true "
    "padding_mode:word(zeros|reflect|replicate|circular)=zeros"
)
_NORM = (
    "num_features:count eps:number=1e-05 momentum:number?=0.1 affine:flag={} "
    "track_running_stats:flag={}"
)
_RECURRENT = (
    "input_size:count hidden_size:count num_layers:few=1 bias:flag=true batch_first:flag=false "
    "dropout:probability=0.0 bidirectional:flag=false"
)
_ATTENTION = (
    "embed_dim:count num_heads:count dropout:probability=0.0 bias:flag=true "
    "add_bias_kv:flag=false add_zero_attn:flag=false kdim:count?=null vdim:count?=null "
    "batch_first:flag=false need_weights:flag=true average_attn_weights:flag=true"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stateful:
    """A module that a graph may have.

    Attributes:
        op: its name in graphs.
        cls: of torch.
        signature: of its settings, see `settings`.
    """

    op: str
    cls: type[nn.Module]
    signature: str


_BY_RANK = {
    "Conv{}d": _CONV.format(""),
    "ConvTranspose{}d": _CONV.format("output_padding:wholes=0 "),
    "BatchNorm{}d": _NORM.format("true", "true"),
    "InstanceNorm{}d": _NORM.format("false", "false"),
}
_OTHERS = {
    "Linear": "in_features:count out_features:count bias:flag=true",
    "LayerNorm": "normalized_shape:counts eps:number=1e-05 elementwise_affine:flag=true "
    "bias:flag=true",
    "GroupNorm": "num_groups:count num_channels:count eps:number=1e-05 affine:flag=true",
    "RMSNorm": "normalized_shape:counts eps:number?=null elementwise_affine:flag=true",
    "Embedding": "num_embeddings:count embedding_dim:count",
    "PReLU": "num_parameters:count=1",
    "LSTM": _RECURRENT,
    "GRU": _RECURRENT,
    "MultiheadAttention": _ATTENTION,
}
STATEFUL: dict[str, Stateful] = {
    op: Stateful(op=op, cls=getattr(nn, op), signature=signature)
    for op, signature in (
        *((op.format(n), line) for op, line in _BY_RANK.items() for n in (1, 2, 3)),
        *_OTHERS.items(),
    )
}
"""By name in graphs: the name of the class in `torch.nn`."""
_UNUSUAL = {"padding_idx": None, "max_norm": None, "sparse": False, "proj_size": 0}
"""Attributes of layers that graphs have as torch makes them alone."""


def stateful_of(module: nn.Module) -> Stateful | None:
    """Return what a module is, by the class of torch that it is or extends; None: nothing here."""
    found = [each for each in STATEFUL.values() if isinstance(module, each.cls)]
    return found[0] if found else None


def is_called_as_torch_does(module: nn.Module, known: Stateful) -> bool:
    """Return whether a module computes what the class of torch does."""
    return type(module).forward is known.cls.forward


def has_state(module: nn.Module) -> bool:
    """Return whether a module holds parameters or buffers."""
    return any(True for each in (module.parameters, module.buffers) for _ in each())


def settings_of(module: nn.Module, known: Stateful) -> dict[str, Any]:
    """Return the settings that make such a module, those that torch fills in left out.

    Raises:
        UnfitSettingError: a setting that graphs do not have.
        TypeError: a value that has no JSON.
    """
    for name, usual in _UNUSUAL.items():
        if getattr(module, name, usual) != usual:
            raise settings.UnfitSettingError(f"{name} is {getattr(module, name)}, not {usual}")
    found: dict[str, Any] = {}
    for argument in settings.arguments(known.signature):
        value = settings.plain(_value(module, argument.name))
        if isinstance(value, list) and (len(value) == 1 or _is_for_each_side(argument, value)):
            value = value[0]
        if argument.is_required or value != argument.default:
            found[argument.name] = value
    settings.checked(known.signature, found)
    return found


def _is_for_each_side(argument: settings.Argument, value: list[Any]) -> bool:
    return argument.name != "normalized_shape" and len(set(map(str, value))) == 1


def _value(module: nn.Module, name: str) -> Any:
    if isinstance(module, nn.MultiheadAttention):
        return _of_attention(module, name)
    if name == "bias" and not isinstance(module, nn.RNNBase):
        return getattr(module, "bias", None) is not None
    if name == "padding" and isinstance(getattr(module, "padding", None), str):
        return module.padding
    return getattr(module, name)


def _of_attention(module: nn.MultiheadAttention, name: str) -> Any:
    if name == "bias":
        return module.in_proj_bias is not None
    if name == "add_bias_kv":
        return module.bias_k is not None
    if name in ("kdim", "vdim"):
        width = getattr(module, name)
        return None if width == module.embed_dim else width
    return getattr(module, name, True)


OF_CALLS = ("need_weights", "average_attn_weights")
"""Settings that a module is given when it is called, not when it is made."""


def made(known: Stateful, checked: Mapping[str, Any]) -> nn.Module:
    """Return the module of checked settings, started as torch does."""
    return known.cls(**{name: each for name, each in checked.items() if name not in OF_CALLS})


def checked(known: Stateful, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as torch takes them; UnfitSettingError where they are none."""
    return settings.checked(known.signature, given)
