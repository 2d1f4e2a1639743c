"""Which units of a network may change places, and all that has to move with them.

A hidden unit is an output of one layer that only goes through what treats every unit by itself (a
norm, an activation, a pooling, a depthwise convolution) into one other layer; a head of an
attention is one as well. In any order of them a network says the same. A module with hooks or
parametrizations may tell units apart, and is taken for one that mixes them.
"""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized

from npas.torch_internals import BATCH_NORM, has_hooks

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

_SINGLY: tuple[type[nn.Module], ...] = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Tanh, nn.Sigmoid, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Softplus),
    *(nn.Dropout, nn.Identity),
)
"""Modules that treat every scalar by itself."""

_BY_CHANNEL: tuple[type[nn.Module], ...] = (
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
)
"""Modules that treat every channel of a convolution by itself, without parameters."""

_FUNCTIONS = {
    *(F.relu, F.relu_, F.relu6, F.leaky_relu, F.elu, F.selu, F.gelu, F.silu, F.mish, F.hardswish),
    *(F.hardtanh, F.softplus, F.tanh, F.sigmoid, F.dropout, torch.relu, torch.tanh),
    torch.sigmoid,
}
"""Functions that treat every scalar by itself."""

_UNTRACEABLE = (
    *(fx.proxy.TraceError, AssertionError, AttributeError, IndexError, KeyError),
    *(NotImplementedError, RuntimeError, TypeError, ValueError, NameError),
)
"""What a forward pass may raise that is given symbols in place of tensors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where units lie in a tensor: along one dimension, which is `(outer, units, inner)`.

    Attributes:
        name: of the tensor.
        dim: of the tensor.
        outer: how often all units lie there, one after the other: 3 for query, key and value.
        inner: scalars of one unit.
    """

    name: str
    dim: int
    outer: int = 1
    inner: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class HiddenUnits:
    """Units that may change places.

    Attributes:
        units: how many.
        places: all that moves with them.
        makes: the weight that makes them, one of the places.
        reads: the weight that reads them, another.
    """

    units: int
    places: tuple[Place, ...]
    makes: Place
    reads: Place


def hidden_units(network: nn.Module) -> list[HiddenUnits]:
    """Return the hidden units of a network, in the order in which it computes them.

    None where PyTorch cannot trace it: where what it does depends on its input.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whatever the module warns of, it is not run
            graph = fx.Tracer().trace(network)
    except _UNTRACEABLE:
        return []
    return list(_Walk(network, graph).found())


class _Walk:
    """Goes from every layer to the one that reads it.

    Attributes:
        modules: of the network, by path.
    """

    def __init__(self, network: nn.Module, graph: fx.Graph) -> None:
        self.modules: Mapping[str, nn.Module] = dict(network.named_modules())
        self._graph = graph
        calls = (node for node in graph.nodes if node.op == "call_module")
        self._calls = Counter(id(self.modules[str(node.target)]) for node in calls)
        named = [*network.named_parameters(remove_duplicate=False)]
        uses = Counter(id(tensor) for _, tensor in named)
        direct = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
        self._free = {name for name, each in named if uses[id(each)] == 1 and name not in direct}
        self._free |= {name for name, _ in network.named_buffers()} - direct

    def found(self) -> Iterator[HiddenUnits]:
        """Yield what there is."""
        for node in self._graph.nodes:
            module = self._module(node)
            if isinstance(module, nn.MultiheadAttention):
                yield from self._heads(node, module)
            elif isinstance(module, (nn.Linear, *CONVOLUTIONS)) and not _groups(module) > 1:
                yield from self._between(node, module)

    def _module(self, node: fx.Node) -> nn.Module | None:
        """Return what a node calls; None where that is none, or one used twice or hooked."""
        if node.op != "call_module":
            return None
        module = self.modules[str(node.target)]
        if has_hooks(module) or is_parametrized(module):
            return None
        is_alone = self._calls[id(module)] == 1 or not any(True for _ in module.parameters())
        return module if is_alone or isinstance(module, _SINGLY) else None

    def _hooked(self, node: fx.Node) -> list[str]:
        """Return the containers of a module that have hooks: of what goes in, or comes out."""
        parts = str(node.target).split(".")
        paths = (".".join(parts[:depth]) for depth in range(1, len(parts)))
        return [path for path in paths if has_hooks(self.modules[path])]

    def _between(self, node: fx.Node, layer: nn.Module) -> Iterator[HiddenUnits]:
        makes = Place(name=f"{node.target}.weight", dim=0)
        places, units = [makes, *_vectors(node, layer, "bias")], _outputs(layer)
        is_flat, around = isinstance(layer, nn.Linear), self._hooked(node)
        while len(node.users) == 1:
            (node,) = node.users
            module = self._module(node)
            if module is not None and self._hooked(node) != around:
                return
            if _reads(module, layer):
                reads = Place(name=f"{node.target}.weight", dim=1)
                if self._are_free([*places, reads]):
                    yield HiddenUnits(
                        units=units, places=(*places, reads), makes=makes, reads=reads
                    )
                return
            if module is not None and (own := _own(node, module, units, is_flat)) is not None:
                places += own
            elif not (node.op == "call_function" and node.target in _FUNCTIONS):
                return

    def _heads(self, node: fx.Node, module: nn.MultiheadAttention) -> Iterator[HiddenUnits]:
        has_mask = node.kwargs.get("attn_mask") is not None or len(node.args) > 5
        is_plain = module.in_proj_weight is not None and module.bias_k is None
        if has_mask or not is_plain or module.num_heads < 2:
            return
        path, inner = str(node.target), module.head_dim
        makes = Place(name=f"{path}.in_proj_weight", dim=0, outer=3, inner=inner)
        reads = Place(name=f"{path}.out_proj.weight", dim=1, inner=inner)
        places = [makes, reads]
        if module.in_proj_bias is not None:
            places.append(Place(name=f"{path}.in_proj_bias", dim=0, outer=3, inner=inner))
        if self._are_free(places):
            yield HiddenUnits(
                units=module.num_heads, places=tuple(places), makes=makes, reads=reads
            )

    def _are_free(self, places: list[Place]) -> bool:
        """Return whether nothing else reads the tensors: no tie, no other call, no hook's copy."""
        return all(place.name in self._free for place in places)


def _reads(module: nn.Module | None, layer: nn.Module) -> bool:
    kinds: tuple[type[nn.Module], ...] = (nn.Linear,)
    if isinstance(layer, CONVOLUTIONS):
        kinds = CONVOLUTIONS
    return isinstance(module, kinds) and _groups(module) == 1


def _own(node: fx.Node, module: nn.Module, units: int, is_flat: bool) -> list[Place] | None:
    """Return what a module on the way has of each unit; None where it mixes units."""
    if isinstance(module, _SINGLY):
        return []
    if is_flat:
        is_norm = isinstance(module, nn.LayerNorm) and module.normalized_shape == (units,)
        return _vectors(node, module, "weight", "bias") if is_norm else None
    if isinstance(module, _BY_CHANNEL):
        return None if getattr(module, "return_indices", False) else []
    if isinstance(module, BATCH_NORM):
        return _vectors(node, module, "weight", "bias", "running_mean", "running_var")
    if isinstance(module, CONVOLUTIONS) and _groups(module) == units == _outputs(module):
        return _vectors(node, module, "weight", "bias")
    return None


def _vectors(node: fx.Node, module: nn.Module, *names: str) -> list[Place]:
    there = (name for name in names if isinstance(getattr(module, name), Tensor))
    return [Place(name=f"{node.target}.{name}", dim=0) for name in there]


def _groups(module: nn.Module | None) -> int:
    return int(getattr(module, "groups", 1))


def _outputs(module: nn.Module) -> int:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return len(weight)
