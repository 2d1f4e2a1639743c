"""What each module of a network costs when one example passes, counted on the meta device."""

import functools
import weakref
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from npas import arch
from npas.arch.footprint import Counting
from npas.arch.own.trial import arguments, num_examples, observed
from npas.spec import ArchitectureSpec
from npas.torch_internals import storage_number


@dataclass(frozen=True, kw_only=True, slots=True)
class ModuleCost:
    """What a module does in one call, the modules inside of it left out.

    Attributes:
        name: path in the network; "" for the network itself.
        kind: class of the module.
        holds: names of the parameters that are its own, or of a module inside of it that is never
            called by itself; () at every call but the first.
        macs: multiply-adds of convolutions and matrix products.
        output_shape: without the examples; () where it returns no tensor.
        output_bytes: of what it returns.
        peak_bytes: of all activations that are in memory at once while it runs.
    """

    name: str
    kind: str
    holds: tuple[str, ...]
    macs: int
    output_shape: tuple[int, ...]
    output_bytes: int
    peak_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningCost:
    """What a network takes to answer for one example, its weights at hand.

    Attributes:
        macs: multiply-adds of convolutions and matrix products.
        activation_bytes: most bytes of activations that are in memory at once, in float32.
    """

    macs: int
    activation_bytes: int


def running_cost(spec: ArchitectureSpec) -> RunningCost:
    """Return what a resolved network takes to run; what `npas.profile` adds up of `costs`."""
    rows = costs(spec)
    return RunningCost(
        macs=sum(row.macs for row in rows),
        activation_bytes=max(row.peak_bytes for row in rows),
    )


def costs(spec: ArchitectureSpec) -> tuple[ModuleCost, ...]:
    """Return what the modules of a network cost, in the order in which they return; kept.

    Containers that neither hold parameters nor multiply are left out. A module that is called
    several times has a row for each call.

    Args:
        spec: resolved.
    """
    return _costs(spec.model_dump_json())


@functools.lru_cache(maxsize=64)
def _costs(json: str) -> tuple[ModuleCost, ...]:
    spec = ArchitectureSpec.model_validate_json(json)
    model = arch.build(spec, device="meta").to("meta").eval()
    example = arch.example_input(spec, num_examples=1)
    inputs = torch.empty(example.shape, dtype=example.dtype, device="meta")
    watch = _Watch(model)
    watch.hold(inputs)
    with torch.no_grad(), _watching(model, watch):
        model(inputs)
    return _found(model, watch)


def module_costs(module: nn.Module, example: object) -> tuple[ModuleCost, ...]:
    """Return what the modules inside of a user's module cost; see `costs`. It is run once.

    Args:
        module: of the user, with memory; it is left as it was.
        example: what its forward takes, see `npas.arch.own.trial.arguments`; where it is of
            several examples, all that is counted is divided by their number.

    Raises:
        InvalidSpecError: it does not run on the example.
    """
    watch, count = _Watch(module), num_examples(example)
    for each in tree_leaves(arguments(example)):
        if isinstance(each, Tensor):
            watch.hold(each)
    observed(module, example, _watching(module, watch))
    return tuple(
        replace(
            row,
            macs=row.macs // count,
            output_bytes=row.output_bytes // count,
            peak_bytes=row.peak_bytes // count,
        )
        for row in _found(module, watch)
    )


def _found(model: nn.Module, watch: "_Watch") -> tuple[ModuleCost, ...]:
    """Return the rows of what was watched, those alone that hold or do something."""
    holds = _holds(model, [row.name for row in watch.rows])
    rows = [replace(row, holds=holds.pop(row.name, ())) for row in watch.rows]
    leaves = {name for name, module in model.named_modules() if not list(module.children())}
    return tuple(row for row in rows if row.holds or row.macs or row.name in leaves)


def _holds(model: nn.Module, called: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return which parameters count as whose, by the innermost module around them that runs."""
    found: dict[str, tuple[str, ...]] = {}
    for name, parameter in model.named_parameters():
        owner = name.rpartition(".")[0]
        while owner and owner not in called:
            owner = owner.rpartition(".")[0]
        if parameter.requires_grad:
            found[owner] = (*found.get(owner, ()), name)
    return found


class _Watch(Counting):
    """Counts the operations of each module, and the memory of the tensors that are alive."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.rows: list[ModuleCost] = []
        self._names = {module: name for name, module in model.named_modules()}
        state = (*model.parameters(), *model.buffers())
        self._known = {storage_number(each.untyped_storage()) for each in state}
        self._live = 0
        self._open: list[list[int]] = []
        """Of the modules that run, innermost last: multiply-adds of modules inside, peak."""

    def hold(self, tensor: Tensor) -> None:
        """Count a tensor's memory for as long as it is there."""
        storage = tensor.untyped_storage()
        number = storage_number(storage)
        if number in self._known:
            return
        self._known.add(number)
        size = storage.nbytes()
        self._live += size
        weakref.finalize(storage, self._release, number, size)
        for each in self._open:
            each[1] = max(each[1], self._live)

    def _release(self, number: int, size: int) -> None:
        self._known.discard(number)
        self._live -= size

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do one operation, and count it and what it makes."""
        out = super().__torch_dispatch__(func, types, args, kwargs)
        for each in out if isinstance(out, list | tuple) else [out]:
            if isinstance(each, Tensor):
                self.hold(each)
        return out

    def enter(self, module: nn.Module, inputs: Any) -> None:
        """Note that a module begins."""
        del module, inputs
        self._open.append([self.macs, self._live, 0])

    def leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """Note that a module returns."""
        del inputs
        before, peak, inside = self._open.pop()
        spent = self.macs - before
        if self._open:
            self._open[-1][2] += spent
        shown = output[0] if isinstance(output, tuple) else output
        is_tensor = isinstance(shown, Tensor)
        row = ModuleCost(
            name=self._names[module],
            kind=type(module).__name__,
            holds=(),
            macs=spent - inside,
            output_shape=tuple(shown.shape[1:]) if is_tensor else (),
            output_bytes=shown.numel() * shown.element_size() if is_tensor else 0,
            peak_bytes=peak,
        )
        self.rows.append(row)


@contextmanager
def _watching(model: nn.Module, watch: _Watch) -> Iterator[None]:
    """Have all modules of a network tell when they run, and all operations what they make."""
    handles = []
    for module in model.modules():
        handles.append(module.register_forward_pre_hook(watch.enter))
        handles.append(module.register_forward_hook(watch.leave))
    try:
        with watch:
            yield
    finally:
        for handle in handles:
            handle.remove()
