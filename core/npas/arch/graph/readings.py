"""What a call of torch's or of a module means for a graph: a node, nothing, or a refusal."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from npas.arch.graph import stateful
from npas.arch.graph.settings import UnfitSettingError

_READS_NUMBERS = frozenset(
    {
        *("item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__"),
        *("__contains__", "equal", "allclose", "is_nonzero", "__array__", "nonzero"),
    }
)
_WRITES = frozenset({"copy_", "index_add_", "index_copy_", "scatter_", "scatter_add_", "set_"})
WRITES_A_NUMBER = frozenset({"zero_", "fill_"})
_BY_SHAPE = frozenset(
    {
        *("new_zeros", "new_ones", "new_full", "new_empty", "new_tensor", "zeros_like"),
        *("ones_like", "full_like", "empty_like", "rand_like", "randn_like"),
    }
)
"""Make constants: of the tensor that they are called on they take shape and type alone."""
_CONVERSIONS = frozenset(
    {"to", "float", "half", "double", "bfloat16", "int", "long", "bool", "type", "type_as"}
)
_TRANSPOSED = {"T": None, "mT": (-2, -1)}
_REVERSED = {
    **{"__rsub__": "sub", "rsub": "sub", "__rdiv__": "div", "__rtruediv__": "div"},
    **{"__rpow__": "pow", "__rmatmul__": "matmul"},
}
_DEPTH = ("DropPath", "StochasticDepth")
"""How classes are called that drop whole images while training; libraries have their own each."""

Special = tuple[str, tuple[Any, ...], dict[str, Any]]


def name_of(func: Any) -> str:
    """Return what torch calls a function, a method or an attribute."""
    name = str(getattr(func, "__name__", func))
    if name == "__get__":
        return str(getattr(func.__self__, "__name__", name))
    if name == "fn":  # torch's choice between a function and its twin that returns indices
        return next((each for each in vars(F) if vars(F)[each] is func), name)
    return name


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield every tensor within lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from tensors_in(each)
    elif isinstance(value, dict):
        yield from tensors_in(tuple(value.values()))


def refusal(func: Any) -> str:
    """Return why a call cannot be declared, whatever it is given; "": it may be."""
    name = name_of(func)
    if name in _READS_NUMBERS:
        return (
            f"{name}: what is computed depends on the numbers of a tensor; a graph computes the "
            "same for all inputs"
        )
    if name in _WRITES:
        return f"{name}: a part of a tensor is overwritten; make a new tensor of it"
    if name in ("detach", "data", "detach_"):
        return f"{name}: no gradient passes; a graph passes it everywhere"
    return ""


def makes_new_values(func: Any, made: Any) -> bool:
    """Return whether a call made tensors that depend on those that it read."""
    if name_of(func) in _BY_SHAPE or name_of(func) in ("requires_grad_", "grad"):
        return False
    return next(tensors_in(made), None) is not None


def is_same(func: Any, args: Any, made: Any) -> bool:
    """Return whether a call handed its first tensor on, unchanged."""
    return bool(args) and made is args[0] and name_of(func) in _CONVERSIONS


def special(func: Any, args: Any, kwargs: Mapping[str, Any], made: Any) -> Special | None:
    """Return (function of graphs, arguments) of a call that is not simply one of its names."""
    name = name_of(func)
    if name == "__getitem__":
        return _indexed(args[0], args[1])
    if name in _CONVERSIONS:
        return "to", (args[0], made.dtype), {}
    if name in _TRANSPOSED:
        dims = _TRANSPOSED[name] or (0, 1)
        return "transpose", (args[0], *dims), {}
    if name == "norm":
        found = dict(zip(("p", "dim", "keepdim"), args[1:], strict=False)) | dict(kwargs)
        usual = found.get("p", "fro") in ("fro", None)
        return name, (args[0],), found | {"p": 2.0} if usual else found
    if name in _REVERSED:
        return _REVERSED[name], (args[1], args[0]), dict(kwargs)
    if name == "max" and not isinstance(made, Tensor):
        return "greatest", args, dict(kwargs)
    if name in ("batch_norm", "instance_norm"):
        return name, (args[0],), _of_norm(name, args, kwargs)
    if func is F.unfold:
        return "unfold", args, dict(kwargs)
    return None


def written_part(args: Any) -> Special:
    """Return the function of graphs for `tensor[index] = value`."""
    tensor, index, value = args
    if isinstance(index, Tensor):
        raise UnfitSettingError("places that a tensor names are overwritten")
    found = {"index": _indexed(tensor, index)[1][1], "value": value}
    return "put", (tensor,), found


def _of_norm(name: str, args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return weight, bias and eps of a normalisation by the statistics of its input."""
    use = "training" if name == "batch_norm" else "use_input_stats"
    names = ("input", "running_mean", "running_var", "weight", "bias", use, "momentum", "eps")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    usual = name == "instance_norm"
    if given.get("running_mean") is not None or not given.get(use, usual):
        raise UnfitSettingError("statistics that belong to no normalisation of torch's")
    return {each: given[each] for each in ("weight", "bias", "eps") if each in given}


def _without(parts: tuple[Any, ...], place: int) -> tuple[Any, ...]:
    return parts[:place] + parts[place + 1 :]


def _indexed(tensor: Tensor, index: Any) -> Special:
    if isinstance(index, Tensor):
        return "index", (tensor, index), {}
    parts = index if isinstance(index, tuple) else (index,)
    places = [place for place, part in enumerate(parts) if isinstance(part, Tensor)]
    if len(places) == 1 and all(part == slice(None) for part in _without(parts, places[0])):
        return "index", (tensor, parts[places[0]]), {"dim": places[0]}
    for part in parts:
        is_plain = part is None or part is Ellipsis or isinstance(part, slice)
        if not is_plain and type(part) is not int:
            raise UnfitSettingError(
                f"an index with a {type(part).__name__}; a graph has numbers and slices, or one "
                "tensor"
            )
    return "getitem", (tensor, list(parts)), {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """What a module that becomes one node is given.

    Attributes:
        tensors: that it reads.
        op: a function of graphs that it stands for; None: it is a module of torch's.
        settings: beside those of the module.
        refusal: why it cannot be declared; "": it can.
    """

    tensors: tuple[Any, ...] = ()
    op: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    refusal: str = ""


def given_to(module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> Given | None:
    """Return what a module is given that becomes one node; None: what it does inside does."""
    if type(module).__name__.endswith(_DEPTH):
        return _depth(module, args)
    known = stateful.stateful_of(module)
    if known is None or not stateful.is_called_as_torch_does(module, known):
        return None
    if not stateful.has_state(module):
        return None
    if isinstance(module, nn.MultiheadAttention):
        return _attention(args, kwargs)
    if len(args) != 1 or kwargs or not isinstance(args[0], Tensor):
        return Given(refusal=f"{known.op} is given more than one tensor; a graph gives it one")
    return Given(tensors=(args[0],))


def _depth(module: nn.Module, args: Any) -> Given | None:
    p = getattr(module, "drop_prob", getattr(module, "p", None)) or 0.0
    if not p or len(args) != 1:
        return None
    settings: dict[str, Any] = {"p": float(p)}
    if getattr(module, "mode", "row") != "row":
        settings["mode"] = "batch"
    if getattr(module, "scale_by_keep", True) is False:
        settings["scale_by_keep"] = False
    return Given(tensors=(args[0],), op="stochastic_depth", settings=settings)


def _attention(args: Any, kwargs: Mapping[str, Any]) -> Given:
    names = ("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask")
    values = {**dict(zip(names, args, strict=False)), **kwargs}
    if values.get("key_padding_mask") is not None or values.get("is_causal"):
        return Given(refusal="attention with key_padding_mask or is_causal; a graph has attn_mask")
    tensors = tuple(values[name] for name in names[:3])
    mask = values.get("attn_mask")
    settings = {name: False for name in stateful.OF_CALLS if values.get(name, True) is False}
    return Given(tensors=tensors if mask is None else (*tensors, mask), settings=settings)
