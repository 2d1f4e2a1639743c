"""The functions that a graph may call, with their signatures; a graph can call no other.

What torch offers under several names (`F.relu`, `torch.relu`, `Tensor.relu_`) is one function
here. Where the random numbers or the statistics of training matter, `training` is an argument
that the network fills in.
"""

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from npas.arch.graph import functional

_UNARY = (
    *("relu", "relu6", "silu", "mish", "hardswish", "hardsigmoid", "selu", "softsign", "tanh"),
    *("sigmoid", "logsigmoid", "tanhshrink", "exp", "log", "sqrt", "rsqrt", "abs", "neg"),
    *("square", "sin", "cos", "erf", "reciprocal", "floor", "sign", "contiguous", "clone"),
    *("expm1", "log1p"),
)
_SIMPLE = {
    "gelu": "input:tensor approximate:word(none|tanh)=none",
    "elu": "input:tensor alpha:number=1.0",
    "celu": "input:tensor alpha:positive=1.0",
    "leaky_relu": "input:tensor negative_slope:number=0.01",
    "hardtanh": "input:tensor min_val:number=-1.0 max_val:number=1.0",
    "softplus": "input:tensor beta:positive=1.0 threshold:number=20.0",
    "clamp": "input:tensor min:number?=null max:number?=null",
    "threshold": "input:tensor threshold:number value:number",
    "softmax": "input:tensor dim:dim dtype:dtype?=null",
    "log_softmax": "input:tensor dim:dim dtype:dtype?=null",
    "glu": "input:tensor dim:dim=-1",
    "normalize": "input:tensor p:number=2.0 dim:dims=1 eps:number=1e-12",
    "maximum": "input:tensor other:tensor",
    "minimum": "input:tensor other:tensor",
    "matmul": "input:tensor other:tensor",
    "bmm": "input:tensor mat2:tensor",
    "outer": "input:tensor vec2:tensor",
    "addcmul": "input:tensor tensor1:tensor tensor2:tensor value:number=1.0",
    "masked_fill": "input:tensor mask:tensor value:number",
    "mean": "input:tensor dim:dims?=null keepdim:flag=false dtype:dtype?=null",
    "sum": "input:tensor dim:dims?=null keepdim:flag=false dtype:dtype?=null",
    "amax": "input:tensor dim:dims keepdim:flag=false",
    "amin": "input:tensor dim:dims keepdim:flag=false",
    "cumsum": "input:tensor dim:dim dtype:dtype?=null",
    "flatten": "input:tensor start_dim:dim=0 end_dim:dim=-1",
    "unflatten": "input:tensor dim:dim sizes:sizes",
    "transpose": "input:tensor dim0:dim dim1:dim",
    "reshape_as": "input:tensor other:tensor",
    "view_as": "input:tensor other:tensor",
    "movedim": "input:tensor source:dims destination:dims",
    "unsqueeze": "input:tensor dim:dim",
    "chunk": "input:tensor chunks:few dim:dim=0",
    "unbind": "input:tensor dim:dim=0",
    "narrow": "input:tensor dim:dim start:int length:size",
    "select": "input:tensor dim:dim index:int",
    "repeat_interleave": "input:tensor repeats:few dim:dim",
    "linear": "input:tensor weight:tensor bias:tensor?",
    "layer_norm": "input:tensor normalized_shape:counts weight:tensor? bias:tensor? "
    "eps:number=1e-05",
    "group_norm": "input:tensor num_groups:count weight:tensor? bias:tensor? eps:number=1e-05",
    "rms_norm": "input:tensor normalized_shape:counts weight:tensor? eps:number?=null",
    "pixel_shuffle": "input:tensor upscale_factor:few",
    "pixel_unshuffle": "input:tensor downscale_factor:few",
    "channel_shuffle": "input:tensor groups:count",
    "unfold": "input:tensor kernel_size:counts dilation:counts=1 padding:wholes=0 stride:counts=1",
    "fold": "input:tensor output_size:counts kernel_size:counts dilation:counts=1 "
    "padding:wholes=0 stride:counts=1",
    "local_response_norm": "input:tensor size:few alpha:number=0.0001 beta:number=0.75 "
    "k:number=1.0",
    "interpolate": "input:tensor size:counts?=null scale_factor:positives?=null "
    "mode:word(nearest|linear|bilinear|bicubic|trilinear|area|nearest-exact)=nearest "
    "align_corners:flag?=null recompute_scale_factor:flag?=null antialias:flag=false",
    "pad": "input:tensor pad:ints mode:word(constant|reflect|replicate|circular)=constant "
    "value:number?=null",
}
_POOLS = {
    "avg_pool": "input:tensor kernel_size:counts stride:counts?=null padding:wholes=0 "
    "ceil_mode:flag=false count_include_pad:flag=true",
    "max_pool": "input:tensor kernel_size:counts stride:counts?=null padding:wholes=0 "
    "dilation:counts=1 ceil_mode:flag=false",
    "adaptive_avg_pool": "input:tensor output_size:outputs",
    "adaptive_max_pool": "input:tensor output_size:outputs",
}
_CONVOLUTION = (
    "input:tensor weight:tensor bias:tensor? stride:counts=1 padding:padding=0 "
    "dilation:counts=1 groups:count=1"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Function:
    """A function that a graph may call.

    Attributes:
        op: its name in graphs.
        signature: see `settings`.
        call: what is called.
        knows_training: whether it is told whether the network is being trained, as `training`.
        knows_device: whether it is told where the images are, as `device`.
        aliases: what torch calls it, for reading it off a running network.
    """

    op: str
    signature: str
    call: Callable[..., Any]
    knows_training: bool = False
    knows_device: bool = False
    aliases: tuple[Any, ...] = ()


_READ_OTHERWISE = ("unfold", "item", "index", "full", "to", "getitem", "batch_norm", "put")
"""Functions whose name is another function's in torch, or that are read off by hand."""


_OTHER_NAMES = {
    "transpose": ("swapaxes", "swapdims"),
    "movedim": ("moveaxis",),
    "matmul": ("mm",),
    "clamp": ("clip",),
    "mul": ("multiply",),
    "sub": ("subtract",),
    "div": ("divide", "true_divide", "truediv"),
    "abs": ("absolute",),
    "cat": ("concat", "concatenate"),
}
"""What torch calls some of them beside."""


def _torch_names(op: str) -> tuple[Any, ...]:
    """Return everything that torch offers under a name, in place or not."""
    names = (op, f"{op}_", f"__{op}__", f"__i{op}__", f"__r{op}__")
    places = (torch, F, Tensor, torch._C._nn)
    found = [getattr(place, name, None) for place in places for name in names]
    return tuple(each for each in found if callable(each))


def _function(op: str, signature: str, call: Any = None, *aliases: Any, **more: Any) -> Function:
    if call is None:
        call = next(getattr(place, op) for place in (F, torch, Tensor) if hasattr(place, op))
    names = () if op in _READ_OTHERWISE else _torch_names(op)
    names += tuple(each for other in _OTHER_NAMES.get(op, ()) for each in _torch_names(other))
    return Function(op=op, signature=signature, call=call, aliases=(*names, *aliases), **more)


_TWO = "input:operand other:operand"
_ARITHMETIC = (
    _function("add", _TWO, operator.add),
    _function("sub", _TWO, operator.sub, torch.rsub),
    _function("mul", _TWO, operator.mul),
    _function(
        "div",
        _TWO,
        operator.truediv,
        Tensor.__rdiv__,
        Tensor.__truediv__,
        Tensor.__itruediv__,
        torch.true_divide,
    ),
    _function("pow", _TWO, operator.pow),
)
_ROUND = (
    _function("cat", "tensors:tensors dim:dim=0", functional.cat),
    _function("stack", "tensors:tensors dim:dim=0", functional.stack),
    _function("einsum", "equation:equation operands:tensors", functional.einsum, torch.einsum),
    _function("reshape", "input:tensor sizes:sizes", functional.reshape),
    _function("view", "input:tensor sizes:sizes", functional.view),
    _function("permute", "input:tensor dims:dims", functional.permute),
    _function("expand", "input:tensor sizes:sizes", functional.expand),
    _function("repeat", "input:tensor sizes:sizes", functional.repeat),
    _function("flip", "input:tensor dims:dims", functional.flip),
    _function("expand_as", "input:tensor other:tensor", Tensor.expand_as),
    _function("squeeze", "input:tensor dim:dims?=null", functional.squeeze),
    _function("roll", "input:tensor shifts:ints dims:dims?=null", torch.roll),
    _function("split", "input:tensor split_size_or_sections:counts dim:dim=0", functional.split),
    _function("var", "input:tensor dim:dims keepdim:flag=false correction:int=1"),
    _function("std", "input:tensor dim:dims keepdim:flag=false correction:int=1"),
    _function(
        "vector_norm",
        "input:tensor ord:positive=2.0 dim:dims?=null keepdim:flag=false",
        torch.linalg.vector_norm,
        torch.linalg.vector_norm,
    ),
    _function(
        "norm",
        "input:tensor p:positive=2.0 dim:dims?=null keepdim:flag=false",
        functional.norm,
    ),
    _function("greatest", "input:tensor dim:dim keepdim:flag=false", functional.greatest),
    _function("to", "input:tensor dtype:dtype", functional.to),
    _function("getitem", "input:tensor index:index", functional.getitem),
    _function("put", "input:tensor value:operand index:index", functional.put),
    _function("index", "input:tensor index:tensor dim:axis=0", functional.index),
    _function("item", "input:tensor index:int", functional.item),
    _function(
        "full", "sizes:sizes value:number dtype:dtype?=null", functional.full, knows_device=True
    ),
    _function(
        "batch_norm",
        "input:tensor weight:tensor? bias:tensor? eps:number=1e-05",
        functional.batch_norm_of_batch,
    ),
    _function(
        "instance_norm",
        "input:tensor weight:tensor? bias:tensor? eps:number=1e-05",
        functional.instance_norm,
        F.instance_norm,
    ),
    _function(
        "scaled_dot_product_attention",
        "query:tensor key:tensor value:tensor attn_mask:tensor? dropout_p:probability=0.0 "
        "is_causal:flag=false scale:number?=null enable_gqa:flag=false",
        functional.attention,
        knows_training=True,
    ),
    *(
        _function(f"dropout{rank}", "input:tensor p:probability=0.5", knows_training=True)
        for rank in ("", "1d", "2d", "3d")
    ),
    _function(
        "stochastic_depth",
        "input:tensor p:probability mode:word(row|batch)=row scale_by_keep:flag=true",
        functional.stochastic_depth,
        knows_training=True,
    ),
)


@functools.cache
def known_functions() -> dict[str, Function]:
    """Return every function that a graph may call, by its name there."""
    found = [
        *(_function(op, "input:tensor") for op in _UNARY),
        *(_function(op, signature) for op, signature in _SIMPLE.items()),
        *(
            _function(f"{op}{rank}d", signature)
            for op, signature in _POOLS.items()
            for rank in (1, 2, 3)
        ),
        *(_function(f"conv{rank}d", _CONVOLUTION) for rank in (1, 2, 3)),
        *_ARITHMETIC,
        *_ROUND,
    ]
    return {each.op: each for each in found}


@functools.cache
def function_of() -> dict[Any, Function]:
    """Return the function of a graph for each that torch has."""
    return {alias: each for each in known_functions().values() for alias in each.aliases}
