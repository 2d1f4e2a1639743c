"""What sharing costs each layer: the loss of a trained network with one layer un-shared.

A layer that reads a bank gets plain weights of its own, which begin as those that it has. Then
these, and the bank, which all others go on to read, take a few steps down the gradient. Beside it
the bank takes as many with the layer in it. The difference is what un-sharing is worth, and not
what training on is worth.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from npas.errors import DataError, InvalidSpecError
from npas.plans import Group, LayerKey
from npas.sharing.model import SharedModel, check_shared
from npas.sharing.precision import own_precision
from npas.sharing.walks import Batch, Frozen, Gradients, Losses, Rates, Walker

SIZES = (0.001, 0.004, 0.016, 0.064)
"""Of a first step: the change of the weights that a bank makes, over their length."""

FACTORS = (0.25, 1.0, 4.0)
"""By which the size of the bank's step is multiplied for that of a layer's own weights."""

STEPS = 4
"""Down the gradient, each of the whole of the images for steps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnsharedLayer:
    """What un-sharing one layer does. Losses are means over examples, summed over networks.

    Attributes:
        network: of the layer.
        layer: its name.
        loss_change: with the layer un-shared, less with all shared, after as many steps; nats.
            Below 0: un-sharing lowers the loss.
        standard_error: of that mean, of the examples' differences; None of a lone example.
        own_change: with the layer un-shared, less before the steps.
        shared_change: with all shared, less before the steps.
    """

    network: str
    layer: str
    loss_change: float
    standard_error: float | None
    own_change: float
    shared_change: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsharing:
    """What un-sharing does, layer by layer.

    Attributes:
        loss: before any step, on the examples that are measured on.
        examples: measured on.
        step_examples: that steps were taken on.
        steps: that were taken at most.
        layers: in the order of the plan's groups.
    """

    loss: float
    examples: int
    step_examples: int
    steps: int
    layers: tuple[UnsharedLayer, ...]


def cross_entropies(answers: Any, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each example, (B,); of cells, the mean over its cells.

    Args:
        answers: logits, the classes along dimension 1.
        labels: int64 (B,), or uint8 (B, S, S) for cells.
    """
    each = F.cross_entropy(answers.float(), labels.long(), reduction="none")
    return each.flatten(1).mean(dim=1) if each.dim() > 1 else each


@own_precision()
def unsharing(
    model: SharedModel,
    learned: Sequence[Batch],
    held_out: Sequence[Batch],
    *,
    layers: Collection[LayerKey] | None = None,
    steps: int = STEPS,
    sizes: Sequence[float] = SIZES,
    losses: Losses = cross_entropies,
    progress: Callable[[int, int], object] | None = None,
) -> Unsharing:
    """Measure for each layer that reads a bank what un-sharing it does to the loss.

    The first step has the size, of a few, that lowers the loss of the examples for steps most; of
    one size, the bank's weights change by the same part of their length, and a layer's own move at
    the rate at which gradients move those of its group. Later steps follow the gradient at that
    rate. What is measured is the best point on the way. Norms are in evaluation mode, all else is
    frozen; frozen banks move as if they were not. Networks that read nothing of a group are not
    run for it. Equal arguments give equal numbers.

    Args:
        model: trained; it is left as it is.
        learned: examples to take steps on, such as some that it was trained on, on its device;
            gone through again and again.
        held_out: other examples, to measure on.
        layers: to measure, by network and name; None: all that read banks.
        steps: at least 1.
        sizes: of the first step, above 0.
        losses: of one network; None of it may depend on other examples.
        progress: called with how many layers and groups are done, and how many there are.

    Raises:
        InvalidSpecError: this is no shared network, or steps or sizes are not of that kind.
        DataError: there are no examples, or losses are not numbers.

    Example:
        >>> import npas, torch
        >>> from npas.sharing.unsharing import unsharing
        >>> plan = npas.plan("resnet-8", budget={"fraction": 0.3}, method="uniform")
        >>> net = npas.share(npas.build("resnet-8"), plan)
        >>> batch = torch.randn(8, 3, 32, 32), torch.arange(8)
        >>> found = unsharing(net, [batch], [batch], steps=1)
        >>> len(found.layers) == sum(len(group.slots) for group in plan.groups)
        True
    """
    check_shared(model)
    if steps < 1 or not sizes or min(sizes) <= 0:
        raise InvalidSpecError(
            f"steps is {steps}, sizes are {list(sizes)}: give at least 1 step, and at least one "
            "size above 0"
        )
    data = _Data(learned, held_out)
    course = _Course(Frozen(model, losses), data, steps=steps, sizes=tuple(sizes))
    wanted = {
        group.name: [s.key for s in group.slots if layers is None or s.key in layers]
        for group in model.plan.groups
    }
    asked = {name: keys for name, keys in wanted.items() if keys}
    total, done = sum(1 + len(keys) for keys in asked.values()), 0
    rows = []
    with torch.enable_grad():
        before = course.start(tuple(asked))
        for name, keys in asked.items():
            shared = course.walk(name, None)
            for key in keys:
                done += 1
                if progress is not None:
                    progress(done, total)
                rows.append(_row(key, before[name], shared, course.walk(name, key)))
            done += 1
    examples = sum(len(labels) for _, labels in held_out)
    return Unsharing(
        loss=float(course.whole_loss()),
        examples=examples,
        step_examples=sum(len(labels) for _, labels in learned),
        steps=steps,
        layers=tuple(rows),
    )


def _row(key: LayerKey, before: Tensor, shared: Tensor, own: Tensor) -> UnsharedLayer:
    """Return the row of one layer from the losses of all examples, (N,) each."""
    change, count = own - shared, len(own)
    deviation = float(change.std()) if count > 1 else math.nan
    return UnsharedLayer(
        network=key[0],
        layer=key[1],
        loss_change=float(change.mean()),
        standard_error=deviation / math.sqrt(count) if count > 1 else None,
        own_change=float((own - before).mean()),
        shared_change=float((shared - before).mean()),
    )


@dataclass(frozen=True, slots=True)
class _Data:
    """Examples for steps, and those to measure on.

    Attributes:
        learned: at least one.
        held_out: likewise.
    """

    learned: Sequence[Batch]
    held_out: Sequence[Batch]

    def __post_init__(self) -> None:
        for name in ("learned", "held_out"):
            given = getattr(self, name)
            if not hasattr(given, "__len__") or isinstance(given, Mapping):
                raise InvalidSpecError(
                    f"{name} is a {type(given).__name__}: give a list of batches, each inputs "
                    "and labels; it is gone through more than once"
                )
            if not len(given):
                raise DataError(f"{name} has no batch of examples")


class _Step(NamedTuple):
    """A first step: its sizes, and the mean loss of the examples for steps after it."""

    bank: float
    own: float
    loss: float


class _Course:
    """Walks down the gradient from one place, again and again."""

    def __init__(
        self, frozen: Frozen, data: _Data, *, steps: int, sizes: tuple[float, ...]
    ) -> None:
        self._frozen, self._data, self._steps, self._sizes = frozen, data, steps, sizes
        plan = frozen.model.plan
        self._groups = {group.name: group for group in plan.groups}
        self._first: dict[LayerKey, Tensor | None] = {}
        self._step_losses: dict[str, float] = {}  # of the networks of a group, before any step
        self._before: dict[str, Tensor] = {}  # of each network
        self._chosen: dict[str, _Step | None] = {}  # of each group's bank

    def start(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Find gradients and losses where all walks begin.

        Args:
            names: of the groups that walks are for.

        Returns:
            the losses of all examples that are measured on, (N,), by group.
        """
        groups = [self._groups[name] for name in names]
        weights = {k: w for group in groups for k, w in self._frozen.weights(group).items()}
        networks = self._frozen.model.network_names
        read = [name for name in networks if any(key[0] == name for key in weights)]
        if weights:
            of_networks, self._first = self._gradients(read, weights)
            for group in groups:
                self._step_losses[group.name] = sum(of_networks[n] for n in _readers(group))
        self._before = {name: self._measured((name,)) for name in networks}
        return {
            group.name: torch.stack([self._before[n] for n in _readers(group)]).sum(dim=0)
            for group in groups
        }

    def whole_loss(self) -> Tensor:
        """Return the mean loss of all networks together, before any step."""
        return torch.stack([each.mean() for each in self._before.values()]).sum()

    def walk(self, name: str, key: LayerKey | None) -> Tensor:
        """Return the losses of the examples to measure on, (N,), at the best point of a walk.

        Args:
            name: of a group, whose bank moves.
            key: of the layer of it that is un-shared; None: all share.
        """
        group = self._groups[name]
        walker = Walker(self._frozen, group, key, self._first)
        first = self._shared(group, walker) if key is None else self._apart(group, walker)
        if first.loss < self._step_losses[name]:
            self._walk_on(group, walker, first)
        self._frozen.put(walker.own())
        found = self._measured(_readers(group))
        walker.go(walker.begun)
        return found

    def _shared(self, group: Group, walker: Walker) -> "_Step":
        """Return the best first step of a bank alone, found within a factor of 2, and keep it."""
        found = [self._tried(group, walker, size, size) for size in self._sizes]
        middle = min(found, key=lambda step: step.loss)
        for size in (middle.bank / 2, middle.bank * 2):
            found.append(self._tried(group, walker, size, size))
        best = min(found, key=lambda step: step.loss)
        self._chosen[group.name] = best if best.loss < self._step_losses[group.name] else None
        return best

    def _apart(self, group: Group, walker: Walker) -> "_Step":
        """Return the best first step with a layer un-shared: the bank's is that of all shared."""
        chosen = self._chosen[group.name]
        pairs = [(size, size) for size in self._sizes]
        if chosen is not None:
            pairs = [(chosen.bank, factor * chosen.bank) for factor in FACTORS]
        found = [self._tried(group, walker, bank, own) for bank, own in pairs]
        return min(found, key=lambda step: step.loss)

    def _tried(self, group: Group, walker: Walker, bank: float, own: float) -> "_Step":
        """Return a first step of some sizes, and go back."""
        walker.move(self._first, walker.rates(bank, own))
        loss = self._step_loss(group, walker)
        walker.go(walker.begun)
        return _Step(bank, own, loss)

    def _walk_on(self, group: Group, walker: Walker, first: "_Step") -> None:
        """Take all steps, each half as far as the one before where that went too far."""
        rates, best = walker.rates(first.bank, first.own), first.loss
        walker.move(self._first, rates)
        gradients: Gradients | None = None
        for _ in range(self._steps - 1):
            point = walker.point()
            if gradients is None:
                gradients = self._gradients(_readers(group), walker.weights())[1]
            walker.move(gradients, rates)
            loss = self._step_loss(group, walker)
            if loss < best:
                best, gradients = loss, None
            else:
                walker.go(point)
                rates = Rates(rates.bank / 2, rates.own / 2)

    def _step_loss(self, group: Group, walker: "Walker") -> float:
        """Return the mean loss of the examples for steps; infinite where it is no number."""
        self._frozen.put(walker.own())
        with torch.no_grad():
            sums = [
                self._frozen.losses(_readers(group), batch).double().sum()
                for batch in self._data.learned
            ]
        mean = float(torch.stack(sums).sum()) / self._num_learned
        return mean if math.isfinite(mean) else math.inf

    @property
    def _num_learned(self) -> int:
        return sum(len(labels) for _, labels in self._data.learned)

    def _measured(self, networks: Sequence[str]) -> Tensor:
        """Return the losses of all examples to measure on, (N,), with the weights in place."""
        if not self._before:
            self._frozen.put({})
        with torch.no_grad():
            found = torch.cat(
                [self._frozen.losses(networks, b).double() for b in self._data.held_out]
            )
        if not found.isfinite().all():
            raise DataError("losses are not numbers: the network's weights, or its data, are not")
        return found

    def _gradients(
        self, networks: Sequence[str], weights: Mapping[LayerKey, Tensor]
    ) -> tuple[dict[str, float], dict[LayerKey, Tensor | None]]:
        """Return each network's mean loss, and the gradient of their sum by each weight."""
        leaves = {key: each.detach().requires_grad_() for key, each in weights.items()}
        sums = dict.fromkeys(networks, 0.0)
        found: dict[LayerKey, Tensor | None] = dict.fromkeys(leaves)
        self._frozen.put(leaves)
        for batch in self._data.learned:
            each = {name: self._frozen.losses((name,), batch).sum() for name in networks}
            total = torch.stack(list(each.values())).sum() / self._num_learned
            grads = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
            for key, grad in zip(leaves, grads, strict=True):
                old = found[key]
                found[key] = old if grad is None else grad if old is None else old + grad
            for name, loss in each.items():
                sums[name] += float(loss.detach()) / self._num_learned
        return sums, found


def _readers(group: Group) -> tuple[str, ...]:
    """Return the networks that read a group's banks, in the order of its layers."""
    return tuple(dict.fromkeys(slot.network for slot in group.slots))
