"""The layer table: every weight tensor of a network that may be generated, as plain data."""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from fnmatch import translate

from torch import nn

from npas.arch.deviation import Deviations
from npas.plans import LayerKey, kaiming, rounded
from npas.spec import Role as Role
from npas.torch_internals import parameters_of

CONVOLUTIONS: dict[type[nn.Module], str] = {
    nn.Conv1d: "conv1d",
    nn.Conv2d: "conv2d",
    nn.Conv3d: "conv3d",
}

TRANSPOSED: dict[type[nn.Module], str] = {
    nn.ConvTranspose1d: "transposed1d",
    nn.ConvTranspose2d: "transposed2d",
    nn.ConvTranspose3d: "transposed3d",
}

RECURRENT: dict[type[nn.Module], str] = {
    **{nn.LSTM: "lstm", nn.GRU: "gru", nn.RNN: "rnn"},
    **{nn.LSTMCell: "lstm", nn.GRUCell: "gru", nn.RNNCell: "rnn"},
}
"""The gates' matrices on top of each other, (gates * hidden, in): from the input, the state."""

EMBEDDING = "embedding"
"""The kind of tables of vectors; they are layers only where they are asked for."""

KINDS = (
    *CONVOLUTIONS.values(),
    *("grouped", "depthwise"),
    *TRANSPOSED.values(),
    *("transposed_grouped", "linear", "attention", "lstm", "gru", "rnn", EMBEDDING),
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One weight tensor that may be generated.

    Attributes:
        network: name of the network it belongs to.
        name: parameter name inside that network, such as "stages.0.1.conv1.weight".
        kind: one of KINDS; dilation and stride make no other kind.
        shape: (out, in / groups, *kernel), or (out, in); of a transposed convolution, as torch
            keeps it, (in, out / groups, *kernel). Its fan-in is taken as the product of all but
            the first, as torch's own initialisers do: exact where in = out. Of an embedding,
            (entries, width).
        role: what it does in the network.
        stage: the part of the network it stands in, for pictures and for grouping by stage.
        deviation: standard deviation at which its network starts it; None: sqrt(2 / fan-in).
        macs: multiply-adds that it does for one example, see `npas.arch.uses`; None: not counted.
    """

    network: str
    name: str
    kind: str
    shape: tuple[int, ...]
    role: Role
    stage: str
    deviation: float | None = None
    macs: int | None = None

    @property
    def key(self) -> LayerKey:
        """Network and name: what tells it from all other layers of a plan."""
        return self.network, self.name

    @property
    def size(self) -> int:
        """Scalars in the weight."""
        return math.prod(self.shape)

    @property
    def kernel_class(self) -> str:
        """Layers of different kernel classes never nest: the kind and the kernel's size."""
        return f"{self.kind} {'x'.join(map(str, self.shape[2:]))}".strip()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LayerTable:
    """All networks of a job as numbers; all that planning needs.

    Attributes:
        layers: rows in forward order (as modules are registered), network after network.
        others: trainable scalars that are never generated (norms, biases, tokens), all networks.
    """

    layers: tuple[Layer, ...]
    others: int

    @property
    def dense(self) -> int:
        """Trainable scalars of the networks without any sharing."""
        return self.others + sum(layer.size for layer in self.layers)

    def split(self, private: Collection[Role]) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
        """Return the layers that may share, and those of roles that never do."""
        sharing = tuple(layer for layer in self.layers if layer.role not in private)
        return sharing, tuple(layer for layer in self.layers if layer.role in private)


def named(pattern: str, layers: Sequence[Layer]) -> list[int]:
    """Return the indices of the layers that a pattern names.

    Args:
        pattern: of layer names ("stages.0.*"), or of network and layer ("small/*"); * stands for
            anything, ? for any character, [ab] for one of some.
        layers: to look at.
    """
    is_named = re.compile(translate(pattern)).match
    return [
        index
        for index, layer in enumerate(layers)
        if is_named(layer.name) or is_named(f"{layer.network}/{layer.name}")
    ]


RoleOf = Callable[[str], tuple[Role, str]]
"""Parameter name -> (role, stage), where a family knows better than the general rule."""


def _kind(module: nn.Module) -> str | None:
    """Return the kind of the weight of a module that has one, None for others."""
    for cls, kind in CONVOLUTIONS.items():
        if isinstance(module, cls):
            if module.groups == 1:
                return kind
            return "depthwise" if module.groups == module.in_channels else "grouped"
    for cls, kind in TRANSPOSED.items():
        if isinstance(module, cls):
            return kind if module.groups == 1 else "transposed_grouped"
    if isinstance(module, nn.Embedding):
        # Sparse gradients and weights that forward changes cannot come from a bank.
        return None if module.sparse or module.max_norm is not None else EMBEDDING
    return "linear" if isinstance(module, nn.Linear) else None


def _matrices(module: nn.Module) -> list[tuple[str, str]]:
    """Return (attribute, kind) of every weight of a module that may be generated."""
    if isinstance(module, nn.MultiheadAttention):
        names = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
        return [(name, "attention") for name in names]
    for cls, kind in RECURRENT.items():
        if isinstance(module, cls):
            return [(name, kind) for name in _gates(module)]
    kind_of_weight = _kind(module)
    return [("weight", kind_of_weight)] if kind_of_weight else []


def _gates(module: nn.Module) -> list[str]:
    """Return the matrices of a recurrent layer; none of one that computes some from others."""
    own = parameters_of(module)
    if any(name not in own for name in getattr(module, "_flat_weights_names", ())):
        return []
    return [name for name in own if name.startswith("weight_")]


def weights(model: nn.Module) -> Iterator[tuple[str, str, nn.Parameter]]:
    """Yield (parameter name, kind, parameter) of every weight that may be generated.

    A weight that two modules have keeps its own numbers, and so does one that its module computes
    from other parameters.
    """
    owners = Counter(id(p) for each in model.modules() for p in parameters_of(each).values())
    for path, module in model.named_modules():
        for attribute, kind in _matrices(module):
            parameter = parameters_of(module).get(attribute)
            if parameter is None or not parameter.requires_grad:
                continue
            if owners[id(parameter)] == 1:
                yield f"{path}.{attribute}" if path else attribute, kind, parameter


def general_roles(names: list[str], shapes: list[tuple[int, ...]], num_classes: int) -> RoleOf:
    """Return the rule for networks of no known family.

    The first layer is the stem; the last one, and any linear layer that ends in `num_classes`
    outputs, a classifier; a name with "downsample" or "shortcut" in it is a shortcut.
    """
    heads = {n for n, s in zip(names, shapes, strict=True) if len(s) == 2 and s[0] == num_classes}

    def role_of(name: str) -> tuple[Role, str]:
        stage = ".".join(name.split(".")[: 2 if name.startswith("features") else 1])
        if name in heads or name == names[-1]:
            return "classifier", stage
        if name == names[0]:
            return "stem", stage
        is_shortcut = "downsample" in name or "shortcut" in name
        return ("shortcut" if is_shortcut else "body"), stage

    return role_of


def without_embeddings(table: LayerTable) -> LayerTable:
    """Return a table in which embeddings are no layers."""
    layers = tuple(layer for layer in table.layers if layer.kind != EMBEDDING)
    if len(layers) == len(table.layers):
        return table
    others = table.dense - sum(layer.size for layer in layers)
    return LayerTable(layers=layers, others=others)


def _said(deviation: float | None, shape: tuple[int, ...]) -> float | None:
    """Return a deviation in six digits; None where it is Kaiming's, unknown, or none at all."""
    if not deviation or math.isclose(deviation, kaiming(shape), rel_tol=1e-6):
        return None
    return rounded(deviation)


def tabulate(
    models: dict[str, nn.Module],
    roles: dict[str, RoleOf | None],
    num_classes: dict[str, int],
    deviations: Mapping[str, Deviations] | None = None,
) -> LayerTable:
    """Walk the modules of every network and return the layer table, embeddings included.

    Args:
        models: network name -> module, real or on the meta device.
        roles: network name -> its family's rule, None for the general one.
        num_classes: network name -> outputs.
        deviations: network name -> what its initialisers would have drawn; None: not known.
    """
    layers: list[Layer] = []
    total = 0
    for network, model in models.items():
        known = deviations[network] if deviations else Deviations()
        rows = list(weights(model))
        names, shapes = [r[0] for r in rows], [tuple(r[2].shape) for r in rows]
        role_of = roles[network] or general_roles(names, shapes, num_classes[network])
        total += sum(p.numel() for p in model.parameters() if p.requires_grad)
        for name, kind, parameter in rows:
            role, stage = role_of(name)
            layers.append(
                Layer(
                    network=network,
                    name=name,
                    kind=kind,
                    shape=tuple(parameter.shape),
                    role=role,
                    stage=stage,
                    deviation=_said(known.of(parameter), tuple(parameter.shape)),
                )
            )
    return LayerTable(layers=tuple(layers), others=total - sum(row.size for row in layers))
