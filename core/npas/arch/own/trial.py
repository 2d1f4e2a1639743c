"""A module run on an example: what it reads, and whether it computes the same from plain tensors.

Banks give a layer a plain tensor where its parameter was. Almost all code sees no difference; what
asks for parameters while it runs does, and is found here, before anything is trained.
"""

import contextlib
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves, tree_map_only

from npas.arch.footprint import Counting
from npas.arch.own.writing import Writing
from npas.errors import InvalidSpecError
from npas.torch_internals import (
    buffers_of,
    is_view,
    parameters_of,
    show_weights_to_kernels,
    storage_number,
)

FIELD = "/networks"

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""What forward is called with: by position, and by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What a run showed.

    Attributes:
        read: names of the weights that forward reads, in the order of their first use.
        macs: multiply-adds for one example.
        unfit: names of weights that have to stay parameters.
        written: of these, that forward writes into.
        multiplied: kinds, by name, of the other parameters that forward multiplies with.
    """

    read: tuple[str, ...]
    macs: int
    unfit: tuple[str, ...]
    written: tuple[str, ...]
    multiplied: Mapping[str, str]


def arguments(example: object) -> Arguments:
    """Return what forward is called with: `(x, y)`, one tensor, or a mapping of keywords.

    Raises:
        InvalidSpecError: it is none of these.
    """
    if isinstance(example, Tensor):
        return (example,), {}
    if isinstance(example, Mapping):
        return (), dict(example)
    if isinstance(example, tuple | list):
        return tuple(example), {}
    raise InvalidSpecError(
        f"example is a {type(example).__name__}: give what forward takes, as (x,) or (x, y), or "
        'by name, as {"input_ids": x}',
        field=FIELD,
    )


def initialise(module: nn.Module, example: object) -> None:
    """Run a module once, so that lazy layers make their parameters."""
    with _kept(module), _afresh(module, arguments(example)) as given:
        _run(module, given)


def trial(
    module: nn.Module, example: object, layers: Sequence[str], others: Sequence[str]
) -> Trial:
    """Run a module in evaluation mode, without gradients; it is left as it was.

    Args:
        module: of the user.
        example: see `arguments`.
        layers: names of the weights that banks are to make.
        others: names of parameters that they could make, if forward multiplies with them.

    Raises:
        InvalidSpecError: it does not run, or only as long as its weights are parameters.
    """
    given = arguments(example)
    names = {_number(module.get_parameter(name)): name for name in (*layers, *others)}
    counting = _Reading(names)
    with _kept(module):
        with _afresh(module, given) as some, Writing(module) as writing, counting:
            wanted = _run(module, some)
        multiplied = {name: counting.kinds[name] for name in others if name in counting.kinds}
        possible = [*layers, *multiplied]
        written = tuple(name for name in possible if name in writing.written)
        unfit = _unfit(module, given, [n for n in possible if n not in written], wanted)
    return Trial(
        read=tuple(counting.read),
        macs=counting.macs // num_examples(given),
        unfit=(*written, *unfit),
        written=written,
        multiplied=multiplied,
    )


def observed(module: nn.Module, example: object, observer: AbstractContextManager[object]) -> None:
    """Run a module in evaluation mode, without gradients, beside an observer; see `trial`.

    Raises:
        InvalidSpecError: it does not run on the example.
    """
    with _kept(module), _afresh(module, arguments(example)) as given, observer:
        _run(module, given)


def num_examples(example: object) -> int:
    """Return how many examples there are in one: the length of its first tensor."""
    tensors = [leaf for leaf in tree_leaves(example) if isinstance(leaf, Tensor) and leaf.dim()]
    return max(1, len(tensors[0])) if tensors else 1


def _number(tensor: Tensor) -> int:
    return storage_number(tensor.untyped_storage())


class _Reading(Counting):
    """Notes which parameters are read by an operation that computes something.

    Attributes:
        read: their names, in the order of their first use.
        kinds: of those that are a matrix in a product, or the weight of a convolution.
    """

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self._names = names
        self.read: dict[str, None] = {}
        self.kinds: dict[str, str] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do one operation, count it and note what it reads."""
        before = self.macs
        out = super().__torch_dispatch__(func, types, args, kwargs)
        if not is_view(func):
            for place, leaf in enumerate(tree_leaves((args, kwargs))):
                name = self._name(leaf)
                if name is not None:
                    self.read[name] = None
                    if self.macs > before:
                        self._note(name, leaf, args, is_weight=place == 1)
        return out

    def _name(self, leaf: object) -> str | None:
        if not isinstance(leaf, Tensor) or leaf.layout is not torch.strided:
            return None
        return self._names.get(_number(leaf))

    def _note(self, name: str, leaf: Tensor, args: tuple[Any, ...], *, is_weight: bool) -> None:
        """Note the kind of a parameter that an operation with multiply-adds reads."""
        if leaf.dim() == 2:
            self.kinds.setdefault(name, "linear")
        elif is_weight and 3 <= leaf.dim() <= 5:
            is_transposed, groups = args[6], args[8]
            kind = f"{'transposed' if is_transposed else 'conv'}{leaf.dim() - 2}d"
            if groups > 1:
                is_deep = not is_transposed and groups == args[0].shape[1]
                kind = "transposed_grouped" if is_transposed else "grouped"
                kind = "depthwise" if is_deep else kind
            self.kinds.setdefault(name, kind)


def _run(module: nn.Module, given: Arguments) -> Any:
    positional, named = given
    torch.manual_seed(0)  # what a module draws is the same in every run of a trial
    with torch.no_grad():
        try:
            return module(*positional, **named)
        except Exception as error:  # the module is the user's: it may raise anything
            raise InvalidSpecError(
                f"the module does not run on the example ({type(error).__name__}: {error}); give "
                "what its forward takes, on its device: example=(x, ...), or by name",
                field=FIELD,
            ) from error


@contextlib.contextmanager
def _kept(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode; its modes and torch's generator come back."""
    modes = {inner: inner.training for inner in module.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.random.fork_rng(), _in_single_operations():
            module.eval()
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for inner, mode in modes.items():
            inner.training = mode


@contextlib.contextmanager
def _afresh(module: nn.Module, given: Arguments) -> Iterator[Arguments]:
    """Give copies of the tensors for one run, which may write into them; buffers come back."""
    lazy = nn.parameter.is_lazy
    before = [
        (buffers_of(inner), name, buffer, None if lazy(buffer) else buffer.clone())
        for inner in module.modules()
        for name, buffer in buffers_of(inner).items()
        if buffer is not None
    ]
    try:
        yield tree_map_only(Tensor, _copied, given)
    finally:
        with torch.no_grad():
            for place, name, buffer, value in before:
                if value is not None:
                    # Only where it changed: an expanded one cannot be written to.
                    place[name] = buffer if torch.equal(buffer, value) else buffer.copy_(value)


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


@contextlib.contextmanager
def _in_single_operations() -> Iterator[None]:
    """Have attention and recurrent layers computed by operations that show what they multiply."""
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.filterwarnings("ignore", ".*TF32.*")  # setting one flag sets this one too
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def _unfit(
    module: nn.Module, given: Arguments, layers: Sequence[str], wanted: Any
) -> tuple[str, ...]:
    """Return the weights that must stay parameters for the module to compute the same."""
    if _is_same(module, given, layers, wanted):
        return ()
    found = tuple(name for name in layers if not _is_same(module, given, [name], wanted))
    if found and _is_same(module, given, [n for n in layers if n not in found], wanted):
        return found
    raise InvalidSpecError(
        "the module computes otherwise, or fails, once its weights are tensors and not "
        "parameters, as banks make them: its forward must not look into its own parameters(); "
        f"keep a layer out with unshared=[{layers[0]!r}], or ask a bias for dtype and device",
        field=FIELD,
    )


def _is_same(module: nn.Module, given: Arguments, layers: Collection[str], wanted: Any) -> bool:
    with _plain(module, layers), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights that are not in one piece of memory
        try:
            with _afresh(module, given) as some, Writing(module):
                found = _run(module, some)
        except InvalidSpecError:
            return False
    pairs = list(zip(tree_leaves(found), tree_leaves(wanted), strict=False))
    return all(
        torch.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)
        for one, other in pairs
        if isinstance(one, Tensor) and isinstance(other, Tensor) and not one.is_meta
    )


@contextlib.contextmanager
def _plain(module: nn.Module, layers: Collection[str]) -> Iterator[None]:
    """Put plain tensors in the place of weights for a while; nothing is copied."""
    before: list[tuple[nn.Module, dict[str, nn.Parameter | None]]] = []
    try:
        for layer in layers:
            path, _, attribute = layer.rpartition(".")
            inner = module.get_submodule(path)
            own = parameters_of(inner)
            before.append((inner, dict(own)))
            inner.__dict__[attribute] = own.pop(attribute).detach()  # type: ignore[union-attr]  # a weight
        _show(before)
        yield
    finally:
        for inner, own in reversed(before):
            for attribute in own:
                inner.__dict__.pop(attribute, None)
            parameters_of(inner).clear()
            parameters_of(inner).update(own)  # in the order of before
        _show(before)


def _show(places: Sequence[tuple[nn.Module, object]]) -> None:
    for inner, _ in places:
        if isinstance(inner, nn.RNNBase):
            show_weights_to_kernels(inner)
