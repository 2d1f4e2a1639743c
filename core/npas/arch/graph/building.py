"""From a declared graph to a network: each kind is checked, each name is registered once."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from npas.arch.graph import constants, settings
from npas.arch.graph.calls import (
    AttentionCall,
    Call,
    FunctionCall,
    ModuleCall,
    RepeatedCall,
    Step,
    ValueCall,
)
from npas.arch.graph.functions import known_functions
from npas.arch.graph.network import GraphNetwork, Part
from npas.arch.graph.settings import UnfitSettingError
from npas.arch.graph.stateful import OF_CALLS, STATEFUL, made
from npas.errors import InvalidSpecError
from npas.registry import nearest
from npas.spec import MAX_PARAMETERS
from npas.spec.graph import Graph, Kind, Node

WHERE = "/architecture/graph"
MAX_START = 1e4
_CONSTANTS = "graph_constants"
"""Where constants without a name are kept; they are in no state dict."""

VALUES = {
    "parameter": "sizes:counts?=null",
    "buffer": "constant:int persistent:flag=true",
    "constant": "constant:int for_each_image:flag=false",
}
"""Kinds that are neither modules nor functions, and their settings."""


def known_ops() -> tuple[str, ...]:
    """Return everything that a node may be."""
    return (*STATEFUL, *VALUES, *known_functions())


def build(graph: Graph) -> GraphNetwork:
    """Return the network; where it is made is the current device.

    Raises:
        InvalidSpecError: a kind, name or constant is not allowed; `field` points to it.
    """
    return _Builder(graph).network()


class _Builder:
    """Goes through the nodes once."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.root = GraphNetwork()
        self.checked = [_checked(kind, index) for index, kind in enumerate(graph.kinds)]
        self.constants = _constants(graph)
        self.kinds_of_modules: dict[str, int] = {}
        self.num_parameters = 0

    def network(self) -> GraphNetwork:
        """Return the network of the whole graph."""
        found: list[tuple[int, tuple[int, ...], Call]] = []
        for index, node in enumerate(self.graph.nodes):
            inputs = (index,) if node.inputs is None else node.inputs
            op = self.graph.kinds[node.kind].op
            if node.inputs is None and (op in VALUES or op == "full"):
                inputs = ()
            try:
                call = self._call(node, op, inputs)
            except UnfitSettingError as error:
                raise _at(index, f"{op}: {error}") from None
            if call is not None:
                found.append((index + 1, inputs, call))
        self.root.follow(_steps(found, len(self.graph.nodes)))
        return self.root

    def _call(self, node: Node, op: str, inputs: tuple[int, ...]) -> Call | None:
        checked = self.checked[node.kind]
        if op in STATEFUL:
            return self._module(node, op, checked, inputs)
        if op in VALUES:
            if inputs:
                raise UnfitSettingError("it reads nothing: leave inputs out")
            return self._value(node, op, checked)
        if node.name is not None or node.start:
            raise UnfitSettingError("functions have neither a name nor a start")
        return FunctionCall(known_functions()[op], checked, len(inputs))

    def _module(
        self, node: Node, op: str, checked: Mapping[str, Any], inputs: tuple[int, ...]
    ) -> Call | None:
        if node.name is None:
            raise UnfitSettingError("a module needs a name, as it has in a state dict")
        parent, attribute = self._parent(node.name)
        if node.name not in self.kinds_of_modules:
            self._register(parent, attribute, made_within(op, checked, self._left()))
            self.kinds_of_modules[node.name] = node.kind
            self._start(getattr(parent, attribute), node.start)
        elif self.kinds_of_modules[node.name] != node.kind:
            raise UnfitSettingError(f"the module {node.name!r} was of another kind before")
        if not inputs:
            return None
        more = {name: checked[name] for name in OF_CALLS if name in checked}
        allowed = (3, 4) if op == "MultiheadAttention" else (1,)
        if len(inputs) not in allowed:
            raise UnfitSettingError(
                f"it reads {' or '.join(map(str, allowed))} tensors; it has {len(inputs)} inputs"
            )
        if op == "MultiheadAttention":
            return AttentionCall(parent, attribute, more)
        return ModuleCall(parent, attribute, more)

    def _left(self) -> int:
        """Return how many parameters may still be made."""
        return MAX_PARAMETERS - self.num_parameters

    def _value(self, node: Node, op: str, checked: Mapping[str, Any]) -> Call:
        if op == "constant":
            if node.name is not None:
                raise UnfitSettingError("a constant has no name; a buffer has")
            number = self._number(checked)
            parent, attribute = self._parent(f"{_CONSTANTS}.{number}")
            if not hasattr(parent, attribute):
                self._register(parent, attribute, self.constants[number], is_persistent=False)
            if not checked.get("for_each_image"):
                return ValueCall(parent, attribute)
            if self.constants[number].dim() == 0:
                raise UnfitSettingError("for_each_image: a number alone has no first dimension")
            return RepeatedCall(parent, attribute)
        if node.name is None:
            raise UnfitSettingError("it needs a name, as it has in a state dict")
        parent, attribute = self._parent(node.name)
        if op == "buffer":
            tensor = self.constants[self._number(checked)].clone()
            self._register(
                parent, attribute, tensor, is_persistent=checked.get("persistent", True)
            )
        elif (sizes := checked.get("sizes")) is not None:
            sizes = sizes if isinstance(sizes, tuple) else (sizes,)
            parameter = nn.Parameter(_zeros(sizes, self._left()))
            self._register(parent, attribute, parameter)
            if set(node.start) - {"value"}:
                raise UnfitSettingError("start: a parameter has a value alone")
            self._start(parent, {attribute: node.start.get("value", (0.0, 0.02))})
        elif not isinstance(getattr(parent, attribute, None), nn.Parameter):
            raise UnfitSettingError(
                f"there is no parameter {node.name!r} of a module before: give its sizes"
            )
        return ValueCall(parent, attribute)

    def _number(self, checked: Mapping[str, Any]) -> int:
        number: int = checked["constant"]
        if not 0 <= number < len(self.constants):
            raise UnfitSettingError(
                f"there is no constant {number}; there are {len(self.constants)}"
            )
        return number

    def _parent(self, path: str) -> tuple[nn.Module, str]:
        """Return the module that holds what a path names, made where it is not there yet."""
        *folders, attribute = path.split(".")
        module: nn.Module = self.root
        for folder in folders:
            if not hasattr(module, folder):
                self._register(module, folder, Part())
            inner = getattr(module, folder)
            if not isinstance(inner, nn.Module):
                raise UnfitSettingError(f"{folder!r} in {path!r} is no module")
            module = inner
        return module, attribute

    def _register(
        self,
        parent: nn.Module,
        attribute: str,
        value: nn.Module | Tensor,
        *,
        is_persistent: bool = True,
    ) -> None:
        try:
            if isinstance(value, nn.Module):
                parent.add_module(attribute, value)
                self.num_parameters += sum(each.numel() for each in value.parameters())
            elif isinstance(value, nn.Parameter):
                if hasattr(parent, attribute):
                    raise KeyError(f"attribute '{attribute}' already exists")
                parent.register_parameter(attribute, value)
                self.num_parameters += value.numel()
            else:
                parent.register_buffer(attribute, value, persistent=is_persistent)
        except KeyError as error:
            raise UnfitSettingError(f"the name cannot be used: {error.args[0]}") from None

    def _start(self, module: nn.Module, starts: Mapping[str, tuple[float, ...]]) -> None:
        for name, (mean, deviation) in starts.items():
            parameter = dict(module.named_parameters(recurse=False)).get(name)
            if parameter is None:
                raise UnfitSettingError(f"start: it has no parameter {name!r}")
            if not (abs(mean) <= MAX_START and 0 <= deviation <= MAX_START):
                raise UnfitSettingError(
                    f"start of {name}: mean and deviation of at most {MAX_START:,.0f}, the "
                    "deviation at least 0"
                )
            if deviation:
                nn.init.normal_(parameter, mean, deviation)
            else:
                nn.init.constant_(parameter, mean)


def made_within(op: str, checked: Mapping[str, Any], left: int) -> nn.Module:
    """Return a module of at most so many parameters.

    Raises:
        UnfitSettingError: it would have more, or torch refuses its settings.
    """
    try:
        with torch.device("meta"):
            size = sum(each.numel() for each in made(STATEFUL[op], checked).parameters())
        if size > left:
            raise UnfitSettingError(
                f"with it the network has more than {MAX_PARAMETERS:,} parameters"
            )
        return made(STATEFUL[op], checked)
    except (ValueError, RuntimeError, TypeError, AssertionError) as error:
        raise UnfitSettingError(str(error)) from error


def _zeros(sizes: tuple[int, ...], left: int) -> Tensor:
    if torch.Size(sizes).numel() > left:
        raise UnfitSettingError(f"with it the network has more than {MAX_PARAMETERS:,} parameters")
    return torch.zeros(sizes)


def _checked(kind: Kind, index: int) -> dict[str, Any]:
    """Return the settings of a kind as torch takes them."""
    field = f"{WHERE}/kinds/{index}"
    if kind.op in STATEFUL:
        signature = STATEFUL[kind.op].signature
    elif kind.op in VALUES:
        signature = VALUES[kind.op]
    elif kind.op in known_functions():
        signature = known_functions()[kind.op].signature
    else:
        near = nearest(kind.op, known_ops())
        hint = f"did you mean {' or '.join(near)}?" if near else "docs/declaring.md lists them"
        raise InvalidSpecError(
            f"graph/kinds/{index}: there is no module or function {kind.op!r}: {hint}",
            field=f"{field}/op",
        )
    try:
        return settings.checked(signature, kind.settings)
    except UnfitSettingError as error:
        raise InvalidSpecError(f"graph/kinds/{index}: {kind.op}: {error}", field=field) from None


def _constants(graph: Graph) -> list[Tensor]:
    left = constants.MAX_ELEMENTS
    found = []
    for index, constant in enumerate(graph.constants):
        left -= constants.num_elements(constant)
        try:
            if left < 0:
                raise UnfitSettingError(
                    f"constants hold more than {constants.MAX_ELEMENTS:,} numbers in all"
                )
            found.append(constants.read(constant))
        except UnfitSettingError as error:
            raise InvalidSpecError(
                f"graph/constants/{index}: {error}", field=f"{WHERE}/constants/{index}"
            ) from None
    return found


def _at(index: int, message: str) -> InvalidSpecError:
    return InvalidSpecError(f"graph/nodes/{index}: {message}", field=f"{WHERE}/nodes/{index}")


def _steps(found: list[tuple[int, tuple[int, ...], Call]], num_nodes: int) -> tuple[Step, ...]:
    """Return the steps, each with the values that nobody reads afterwards."""
    computed = {0, *(number for number, _, _ in found)}
    last: dict[int, int] = {}
    for number, reads, _ in found:
        for each in reads:
            if each not in computed:
                raise _at(
                    number - 1, f"node {each} is a module that is only kept: it makes nothing"
                )
            last[each] = number
    if num_nodes not in computed:
        raise _at(
            num_nodes - 1, "the last node makes the answer; a module that is kept makes none"
        )
    return tuple(
        Step(
            number=number,
            reads=reads,
            done=tuple(each for each in dict.fromkeys(reads) if last[each] == number),
            call=call,
        )
        for number, reads, call in found
    )
