"""Reads off a running network what it computes: each call of torch's becomes a node.

The network runs as it is, on real numbers, so that its own decisions about sizes are simply made;
what it decides by the numbers themselves is refused. Modules of torch that hold weights become
one node each, whatever they do inside.
"""

import functools
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from npas.arch.graph import bindings, readings, stateful
from npas.arch.graph.functions import function_of, known_functions
from npas.arch.graph.ownership import Owners
from npas.arch.graph.recording import Recorded
from npas.arch.graph.settings import UnfitSettingError
from npas.errors import UndeclarableError

_OWN = str(Path(__file__).parent)
_TORCH = str(Path(torch.__file__).parent)


def current_line() -> str:
    """Return "file:line" of the nearest caller that is neither torch nor this package."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((_OWN, _TORCH)):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


class Tracer(TorchFunctionMode):
    """Takes down what a network does inside of it.

    Args:
        owners: of its parameters and buffers.
        images: that it will be given.
    """

    def __init__(self, owners: Owners, images: Tensor) -> None:
        super().__init__()
        self.nodes: list[Recorded] = []
        self._owners = owners
        self._paths: list[str] = []
        self._places: dict[int, tuple[int, tuple[int, ...]]] = {id(images): (0, ())}
        self._parts: dict[tuple[int, tuple[int, ...]], int] = {}
        self._alive: list[Any] = [images]  # so that no other tensor gets an identity that is known
        self._is_inside = False

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do one call of torch's and take it down."""
        del types
        kwargs = kwargs or {}
        if self._is_inside or not self._concerns(args, kwargs):
            return func(*args, **kwargs)
        if reason := readings.refusal(func):
            raise self.undeclarable(reason)
        made = func(*args, **kwargs)
        try:
            if self._note_writing(readings.name_of(func), args):
                return made
            if not readings.makes_new_values(func, made):
                return made
            self._note_call(func, args, kwargs, made)
        except (UnfitSettingError, TypeError) as error:
            raise self.undeclarable(f"{readings.name_of(func)}: {error}") from None
        return made

    def undeclarable(self, reason: str) -> UndeclarableError:
        """Return the error for what is happening now."""
        path = self._paths[-1] if self._paths else ""
        return UndeclarableError(reason, path=path, line=current_line())

    def _concerns(self, args: Any, kwargs: dict[str, Any]) -> bool:
        """Return whether a call reads the images, a parameter, or what was made of them."""
        return any(
            id(tensor) in self._places or self._owners.trains(tensor)
            for tensor in readings.tensors_in((args, tuple(kwargs.values())))
        )

    def _note_call(self, func: Any, args: Any, kwargs: dict[str, Any], made: Any) -> None:
        if readings.is_same(func, args, made):
            return
        if readings.name_of(func) == "batch_norm" and (
            owner := self._owners.norm_of(args, kwargs)
        ):
            self.note_module(owner, args[0], made)
            return
        special = readings.special(func, args, kwargs, made)
        if special is not None:
            op, args, kwargs = special
            function = known_functions()[op]
        elif func in function_of():
            function = function_of()[func]
        else:
            raise self.undeclarable(
                f"torch's {readings.name_of(func)} is not among the functions that a graph may "
                "call, and no value may decide what is computed; docs/declaring.md lists them"
            )
        values = bindings.bound(function.signature, args, kwargs)
        reads, found = bindings.described(function.signature, values, self.read)
        self.place(made, self.add(Recorded(op=function.op, reads=reads, settings=found)))

    def _note_writing(self, name: str, args: Any) -> bool:
        """Take down that a part of a tensor was overwritten: from now on it is another node."""
        if name == "__setitem__":
            tensor, special = args[0], readings.written_part(args)
        elif name in readings.WRITES_A_NUMBER:
            number, _ = self._places.get(id(args[0]), (0, ()))
            part = self.nodes[number - 1]
            if part.op != "getitem":
                raise UnfitSettingError("a whole tensor, or a part taken otherwise than by []")
            tensor = self._tensor_of(part.reads[0])
            value = args[1] if len(args) > 1 else 0.0
            special = "put", (tensor,), {"index": part.settings["index"], "value": value}
        else:
            return False
        op, given, found = special
        function = known_functions()[op]
        values = bindings.bound(function.signature, given, found)
        reads, settings = bindings.described(function.signature, values, self.read)
        self.place(tensor, self.add(Recorded(op=op, reads=reads, settings=settings)))
        return True

    def _tensor_of(self, number: int) -> Tensor:
        """Return the tensor that a node made."""
        for each in reversed(self._alive):
            if isinstance(each, Tensor) and self._places.get(id(each)) == (number, ()):
                return each
        raise UnfitSettingError("a part of a tensor that is not known any more")

    def add(self, node: Recorded) -> int:
        """Take down a node and return its number."""
        node.path, node.line = self._paths[-1] if self._paths else "", current_line()
        self.nodes.append(node)
        return len(self.nodes)

    def place(self, made: Any, number: int, parts: tuple[int, ...] = ()) -> None:
        """Remember which node made a tensor, or each of several."""
        self._alive.append(made)
        if isinstance(made, Tensor):
            self._places[id(made)] = (number, parts)
        elif isinstance(made, tuple | list):
            for index, each in enumerate(made):
                self.place(each, number, (*parts, index))

    def read(self, tensor: Any) -> int:
        """Return the number of the node that made a tensor, a parameter or a constant."""
        if not isinstance(tensor, Tensor):
            raise UnfitSettingError(f"a {type(tensor).__name__} stands where a tensor belongs")
        if id(tensor) not in self._places:
            self._places[id(tensor)] = (self._value(tensor), ())
            self._alive.append(tensor)
        number, parts = self._places[id(tensor)]
        for depth, part in enumerate(parts):
            key = (self._places[id(tensor)][0], parts[: depth + 1])
            if key not in self._parts:
                item = Recorded(op="item", reads=(number,), settings={"index": part})
                self._parts[key] = self.add(item)
            number = self._parts[key]
        return number

    def _value(self, tensor: Tensor) -> int:
        """Take down a parameter, a buffer or a constant."""
        if (name := self._owners.parameters.get(id(tensor))) is None:
            name = self._owners.buffers.get(id(tensor))
            op = "buffer" if name else "constant"
            return self.add(Recorded(op=op, name=name, tensor=tensor.detach().clone()))
        if not tensor.requires_grad:
            return self.add(Recorded(op="buffer", name=name, tensor=tensor.detach()))
        found: dict[str, Any] = {"sizes": list(tensor.shape)}
        if holder := self._owners.holder_of(tensor):
            self._hold(holder)
            found = {}
        elif tensor.dim() == 0:
            raise UnfitSettingError(f"the parameter {name!r} has no dimension: give it one of 1")
        return self.add(Recorded(op="parameter", name=name, settings=found))

    def _hold(self, module: nn.Module) -> None:
        """Take down a module whose parameters are used without it."""
        name = self._owners.modules[id(module)]
        known = stateful.stateful_of(module)
        assert known is not None
        if not any(each.name == name for each in self.nodes):
            found = stateful.settings_of(module, known)
            self.add(Recorded(op=known.op, name=name, settings=found))

    def note_module(self, module: nn.Module, given: Any, made: Any, **more: Any) -> None:
        """Take down a module of torch's that made something of one tensor or several."""
        known = stateful.stateful_of(module)
        assert known is not None
        if reason := self._owners.misfit(module, known):
            raise self.undeclarable(reason)
        reads = tuple(map(self.read, given if isinstance(given, tuple) else (given,)))
        found = {**stateful.settings_of(module, known), **more}
        name = self._owners.modules[id(module)]
        node = Recorded(op=known.op, reads=reads, name=name, settings=found)
        self.place(made, self.add(node))

    def run(self, call: Any, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run a module inside of the network, as torch would."""
        path = self._owners.modules.get(id(module))
        self._paths.append(self._paths[-1] if path is None and self._paths else path or "")
        try:
            if self._is_inside or path is None:
                return call(module, *args, **kwargs)
            if (given := readings.given_to(module, args, kwargs)) is None:
                return call(module, *args, **kwargs)
            if given.refusal:
                raise self.undeclarable(given.refusal)
            return self._whole(call, module, given, args, kwargs)
        finally:
            self._paths.pop()

    def _whole(
        self, call: Any, module: nn.Module, given: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """Run a module that becomes one node."""
        self._is_inside = True
        try:
            made = call(module, *args, **kwargs)
            if given.op is None:
                self.note_module(module, given.tensors, made, **given.settings)
            elif made is not given.tensors[0]:  # while evaluating it hands its input on
                reads = tuple(map(self.read, given.tensors))
                node = Recorded(op=given.op, reads=reads, settings=dict(given.settings))
                self.place(made, self.add(node))
        except (UnfitSettingError, TypeError) as error:
            raise self.undeclarable(f"{type(module).__name__}: {error}") from None
        finally:
            self._is_inside = False
        return made


@contextmanager
def followed(tracer: Tracer) -> Iterator[None]:
    """Have a tracer see every call of torch's and of modules, for the length of the block."""
    original = nn.Module.__call__
    apply = torch.autograd.Function.__dict__["apply"]

    def refuse(function: type[torch.autograd.Function], *_: Any, **__: Any) -> Any:
        raise tracer.undeclarable(
            f"{function.__name__} is a torch.autograd.Function, with a gradient of its own; a "
            "graph has those of torch's functions"
        )

    @functools.wraps(original)
    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return tracer.run(original, module, args, kwargs)

    torch.autograd.Function.apply = classmethod(refuse)  # put back below
    nn.Module.__call__ = call  # type: ignore[method-assign]  # put back below
    try:
        with tracer:
            yield
    finally:
        nn.Module.__call__ = original  # type: ignore[method-assign]  # as it was
        torch.autograd.Function.apply = apply
