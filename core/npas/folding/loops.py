"""loops(): a folded network rewritten, so that blocks that repeat run as a loop over one copy.

Source: Savarese & Maire, ICLR 2019: a stage whose blocks became equal is a recurrent network.
Normalisations and biases are kept for each iteration; only then is the loop the same network.
"""

import itertools
from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from npas import arch
from npas.folding.loop_modules import EachStep, Loop, Placed, Repeated
from npas.recipes.loop import repeats_of
from npas.sharing.model import SharedModel, check_shared
from npas.sharing.precision import own_precision
from npas.spec import ArchitectureSpec
from npas.torch_internals import buffers_of, children_of, replace_children

LINEAR = {
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
}
"""Modules whose output is proportional to their weight, but for the bias."""

Piece = Literal["repeated", "each", "placed"]
"""One weight times a scalar; a module for each step; matrices put in their places."""

_PLAIN = (bool, int, float, str, tuple, type(None))
_NOT_THE_SAME = (RuntimeError, LookupError, AttributeError, TypeError, ValueError)
"""What a network may raise that counts, or picks, its own blocks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopPlace:
    """Where a loop stands.

    Attributes:
        network: by name.
        module: path of the loop in its network.
        blocks: in the loop.
        steps: how often they run.
    """

    network: str
    module: str
    blocks: int
    steps: int


@own_precision()
def loops(model: SharedModel) -> nn.Module:
    """Return plain networks in which equal consecutive blocks run as loops.

    A loop has one copy of its blocks; what differs from iteration to iteration, normalisations,
    biases and the scalar of each layer, it has for each. A run of p different blocks that repeats
    is a loop over p blocks. Blocks are children of an `nn.Sequential` or `nn.ModuleList` of which
    each reads what the one before it wrote. Layers that are equal but stand apart read one weight
    too. The network is run once before and once after; one that does not take it stays as it is.

    Args:
        model: folded, see `npas.fold`, or read back from a file of one.

    Returns:
        the network; with several, an `nn.ModuleDict` of them. Outputs are the model's up to
        rounding.

    Raises:
        InvalidSpecError: the model is not a shared network.
    """
    check_shared(model)
    plain = model.materialise()
    for network in model.plan.networks:
        tied = {
            slot.layer: (group.name, repeat)
            for group in model.plan.groups
            for slot, repeat in zip(group.slots, repeats_of(group) or (), strict=False)
            if slot.network == network.name
        }
        trace = _Trace(plain[network.name], network.architecture)
        _Rewriter(plain[network.name], tied, trace).rewrite()
        if not trace.holds():
            plain[network.name] = model.materialise()[network.name]
    return next(iter(plain.values())) if len(plain) == 1 else nn.ModuleDict(plain)


def loop_places(networks: Mapping[str, nn.Module]) -> list[LoopPlace]:
    """Return where loops stand in networks by name."""
    return [
        LoopPlace(network=name, module=path, blocks=len(module), steps=module.steps)
        for name, network in networks.items()
        for path, module in network.named_modules()
        if isinstance(module, Loop)
    ]


class Looped(nn.Module):
    """All networks of a folded model as loops, to be evaluated together."""

    def __init__(self, model: SharedModel) -> None:
        super().__init__()
        found = loops(model)
        names = model.network_names
        self.networks = found if isinstance(found, nn.ModuleDict) else nn.ModuleDict()
        if not len(self.networks):
            self.networks[names[0]] = found

    def members(self, x: Tensor) -> dict[str, Tensor]:
        """Return each network's logits by name."""
        return {name: network(x) for name, network in self.networks.items()}

    def places(self) -> list[LoopPlace]:
        """Return where the loops stand."""
        return loop_places(dict(self.networks.items()))


class _Trace:
    """What happens when a network runs once.

    Attributes:
        calls: of each module.
        plain: modules that map one tensor to one tensor.
        read: the first input of each module.
        wrote: the output of each module.
    """

    def __init__(self, network: nn.Module, architecture: ArchitectureSpec) -> None:
        self.calls: Counter[nn.Module] = Counter()
        self.plain: set[nn.Module] = set()
        self.read: dict[nn.Module, Any] = {}
        self.wrote: dict[nn.Module, Any] = {}
        self._network = network
        like = next(network.parameters())
        inputs = arch.example_input(architecture).to(like.device)
        self._inputs = inputs.to(like.dtype) if inputs.is_floating_point() else inputs
        hooks = [
            module.register_forward_hook(self._note, with_kwargs=True)
            for module in network.modules()
        ]
        try:
            self._output = self._run()
        finally:
            for hook in hooks:
                hook.remove()

    def _note(
        self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any
    ) -> None:
        self.calls[module] += 1
        self.read[module], self.wrote[module] = (inputs[0] if inputs else None), output
        if len(inputs) == 1 and not named and isinstance(output, Tensor):
            self.plain.add(module)

    def _run(self) -> Tensor:
        modes = {module: module.training for module in self._network.modules()}
        try:
            with torch.no_grad():
                return cast(Tensor, self._network.eval()(self._inputs))
        finally:
            for module in self._network.modules():
                module.training = modes.get(module, self._network.training)

    def follows(self, earlier: nn.Module, later: nn.Module) -> bool:
        """Return whether one module reads what another wrote."""
        wrote = self.wrote.get(earlier)
        return isinstance(wrote, Tensor) and self.read.get(later) is wrote

    def holds(self) -> bool:
        """Return whether the network, rewritten, still computes the same."""
        try:
            found = self._run()
        except _NOT_THE_SAME:
            return False
        scale = float(self._output.abs().max())
        return torch.allclose(found, self._output, rtol=1e-3, atol=1e-3 * scale)


def _runs(kinds: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield (start, period, steps) of what repeats, the longest stretch from each start."""
    start = 0
    while start < len(kinds):
        best = (0, 1)  # what it covers, and its period
        for period in range(1, (len(kinds) - start) // 2 + 1):
            steps, block = 1, kinds[start : start + period]
            while kinds[start + steps * period : start + (steps + 1) * period] == block:
                steps += 1
            if steps > 1:
                best = max(best, (steps * period, period), key=lambda found: found[0])
        covered, period = best
        if covered:
            yield start, period, covered // period
        start += covered or 1


class _Rewriter:
    """Puts loops into one plain network, in place."""

    def __init__(
        self, network: nn.Module, tied: Mapping[str, tuple[str, int]], trace: _Trace
    ) -> None:
        self.network, self.tied, self.trace = network, tied, trace
        self.paths = {module: path for path, module in network.named_modules()}
        self.weights: dict[tuple[str, int], nn.Parameter] = {}

    def rewrite(self) -> None:
        """Go through all sequences, the outermost first, not into loops; then single layers."""
        done: list[str] = []
        for module, path in self.paths.items():
            is_inside = any(path.startswith(f"{loop}.") or path == loop for loop in done)
            if isinstance(module, nn.Sequential | nn.ModuleList) and not is_inside:
                done += self._fold(path, module)
        shares = Counter(self.tied.values())
        for path, module in list(self.network.named_modules()):
            tie = self.tied.get(f"{self.paths.get(module)}.weight")
            is_plain = type(module) in LINEAR and self.trace.calls[module] == 1
            if tie is not None and is_plain and shares[tie] > 1:
                parent, _, own = path.rpartition(".")
                if not isinstance(holder := self.network.get_submodule(parent), Repeated):
                    children_of(holder)[own] = self._repeated(tie, [module])

    def _fold(self, path: str, container: nn.Module) -> list[str]:
        """Put loops into one sequence; return the paths of the blocks that are in them now."""
        own = list(children_of(container))
        names = [f"{path}.{name}" if path else name for name in own]
        children = list(container.children())
        kinds = [self._kind(*named) for named in zip(names, children, strict=True)]
        numbers = {kind: index for index, kind in enumerate(dict.fromkeys(kinds))}
        new: OrderedDict[str, nn.Module | None] = OrderedDict(children_of(container))
        folded = []
        for start, period, steps in _runs([numbers[kind] for kind in kinds]):
            stretch = range(start, start + period * steps)
            pairs = itertools.pairwise(children[i] for i in stretch)
            is_chain = all(self.trace.follows(*pair) for pair in pairs)
            if not is_chain or not any(self._is_tied(names[i]) for i in stretch):
                continue
            blocks = [
                self._block([(names[i], children[i]) for i in stretch[offset::period]])
                for offset in range(period)
            ]
            new[own[start]] = Loop(blocks, steps)
            for index in stretch[1:]:
                del new[own[index]]
            folded += [names[index] for index in stretch]
        if folded and isinstance(container, nn.ModuleList):
            new = OrderedDict((str(n), module) for n, module in enumerate(new.values()))
        replace_children(container, dict(new))
        return folded

    def _is_tied(self, path: str) -> bool:
        return any(name.startswith(f"{path}.") for name in self.tied)

    def _kind(self, path: str, block: nn.Module) -> Hashable:
        """Return a value that is equal for two blocks if one can run in the place of the other."""
        pieces = self._pieces(path, block)
        if pieces is None or self.trace.calls[block] != 1:
            return id(block)  # like no other
        parts: list[Hashable] = [repr(block)]
        for name, module in block.named_modules():
            inner = f"{path}.{name}" if name else path
            own = [n for n, _ in module.named_parameters(recurse=False)]
            ties = [(n, self.tied[f"{inner}.{n}"]) for n in own if f"{inner}.{n}" in self.tied]
            plain = {n: v for n, v in vars(module).items() if isinstance(v, _PLAIN)}
            parts.append((name, repr(sorted(plain.items())), tuple(sorted(ties))))
        return tuple(parts)

    def _pieces(self, path: str, block: nn.Module) -> list[tuple[str, Piece]] | None:
        """Return the parts of a block that each step keeps, by name; None if it cannot repeat."""
        found: list[tuple[str, Piece]] = []
        for name, module in block.named_modules():
            if any(piece == "placed" and _is_in(name, whole) for whole, piece in found):
                continue
            inner = f"{path}.{name}" if name else path
            own = dict(module.named_parameters(recurse=False))
            if not own and not buffers_of(module):
                continue
            piece = self._piece(inner, module, own)
            if piece is None:
                return None
            found.append((name, piece))
        return found

    def _piece(
        self, path: str, module: nn.Module, own: Mapping[str, nn.Parameter]
    ) -> Piece | None:
        """Return how a module with tensors of its own repeats; None if it cannot."""
        if self.trace.calls[module] != 1:
            return None
        ties = {name for name in own if f"{path}.{name}" in self.tied}
        is_leaf = not children_of(module) and module in self.trace.plain
        if is_leaf and all(p.dim() < 2 for n, p in own.items() if n not in ties):
            if not ties:
                return "each"
            if type(module) in LINEAR and ties == {"weight"}:
                return "repeated"
        matrices = [n for n, p in module.named_parameters() if p.dim() > 1]
        is_whole = ties and all(f"{path}.{name}" in self.tied for name in matrices)
        return "placed" if is_whole else None

    def _block(self, steps: Sequence[tuple[str, nn.Module]]) -> nn.Module:
        """Return one block for several equal ones."""
        path, first = steps[0]
        for name, piece in self._pieces(path, first) or ():
            alike = [block.get_submodule(name) for _, block in steps]
            inner = f"{path}.{name}" if name else path
            new: nn.Module
            if piece == "repeated":
                new = self._repeated(self.tied[f"{inner}.weight"], alike)
            elif piece == "placed":
                new = self._placed(inner, alike)
            else:
                new = EachStep(alike)
            if not name:
                return new
            parent, _, own = name.rpartition(".")
            children_of(first.get_submodule(parent))[own] = new
        return first

    def _shared(
        self, tie: tuple[str, int], alike: Sequence[nn.Parameter]
    ) -> tuple[nn.Parameter, Tensor]:
        """Return the one weight of all that are tied, and the multiple of it that each is."""
        weight = self.weights.setdefault(tie, alike[0])
        unit = weight.detach().double()
        length = unit.square().sum()
        length = torch.where(length == 0, 1, length)
        along = [(each.detach().double() * unit).sum() / length for each in alike]
        return weight, torch.stack(along).to(weight.dtype)

    def _repeated(self, tie: tuple[str, int], alike: Sequence[nn.Module]) -> Repeated:
        layer = alike[0]
        weight, scalars = self._shared(tie, [cast(nn.Parameter, m.weight) for m in alike])
        layer.weight = weight
        biases = [cast(Tensor, m.bias) for m in alike if m.bias is not None]
        layer.register_parameter("bias", None)
        return Repeated(layer, scalars, biases)

    def _placed(self, path: str, alike: Sequence[nn.Module]) -> Placed:
        names = [n for n, _ in alike[0].named_parameters() if f"{path}.{n}" in self.tied]
        shared = {
            name: self._shared(
                self.tied[f"{path}.{name}"], [module.get_parameter(name) for module in alike]
            )
            for name in names
        }
        weights = {name: weight for name, (weight, _) in shared.items()}
        return Placed(alike, weights, [scalars for _, scalars in shared.values()])


def _is_in(name: str, whole: str) -> bool:
    """Return whether a module stands in another, by their names."""
    return not whole or name.startswith(f"{whole}.")
