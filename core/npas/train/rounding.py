"""Training with the weights that the delivered file will have, not with those behind them.

The forward and the backward pass see rounded weights; the step moves the weights behind them by
that gradient (a straight-through estimate: Bengio, Leonard & Courville, 2013). So a rounding error
is met while there is still time to learn around it, as often as the template that has it is read.
"""

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

EASED, FULL = 0.6, 0.3
"""Of the epochs, that see rounded weights, and those of the file: the last ones."""

EASE_BITS = 3.0
"""Of each weight, that rounding begins with beyond those of the file."""

MEMORY = 0.99
"""Part of the mean squared gradients that stays at each step."""


class Grid(Protocol):
    """What a network is rounded to; see `npas.delivery.coded.grid.Grid`."""

    def rounded(self, name: str, tensor: Tensor) -> Tensor:
        """Return a tensor of the network's state as the file will have it."""

    def facts(self) -> dict[str, Any]:
        """Return all of it as JSON."""


class Coder(Protocol):
    """What knows the file; see `npas.delivery.coded.coder.Coder`."""

    def grid_for(
        self, tensors: Mapping[str, Tensor], squares: Mapping[str, float], *, more_bits: float
    ) -> Grid:
        """Return the grid with which a network's file fits.

        Args:
            tensors: its state.
            squares: mean squared gradients of its parameters, of those that had any.
            more_bits: of each weight, than the file has room for.
        """

    def grid_of(self, facts: Mapping[str, Any]) -> Grid:
        """Return the grid that facts tell."""


class Rounding:
    """Rounds a model's weights from one epoch of its training on, first finer than in the file.

    Attributes:
        grid: in force; None before there is one.
    """

    def __init__(self, coder: Coder, *, epochs: int) -> None:
        """Round nothing yet.

        Args:
            coder: of the file.
            epochs: of the training.
        """
        self.grid: Grid | None = None
        self._coder = coder
        self._eased = epochs - min(epochs - 1, round(EASED * epochs))
        self._full = epochs - min(epochs - 1, max(0, round(FULL * epochs) - 1))
        self._epoch = 0
        self._squares: dict[str, Tensor] = {}

    def is_full(self, epoch: int) -> bool:
        """Tell whether an epoch, from 1, sees the weights of the file."""
        return epoch >= self._full

    @contextmanager
    def step(self, model: nn.Module, epoch: int) -> Iterator[None]:
        """Have the passes of a step see what they are to see, and look at their gradients.

        Args:
            model: that is trained.
            epoch: of the step, from 1.
        """
        is_on = epoch > self._eased or self.is_full(epoch)
        if is_on and self._epoch != epoch:
            self._refit(model, epoch)
        inside = self._rounded(dict(model.named_parameters())) if is_on else None
        with inside or contextlib.nullcontext():
            yield
        self._note(model)

    @contextmanager
    def grading(self, model: nn.Module, epoch: int) -> Iterator[None]:
        """Have a grade be of what would be delivered after an epoch.

        Args:
            model: that is trained.
            epoch: that is over, from 1.
        """
        inside: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if self.is_full(epoch):
            self._refit(model, epoch)
            inside = self._rounded(model.state_dict(keep_vars=True))
        with inside:
            yield

    @contextmanager
    def measuring(self, model: nn.Module, epoch: int) -> Iterator[None]:
        """Have statistics be measured with parameters as they would be delivered after an epoch.

        Args:
            model: whose statistics are measured.
            epoch: that is over, from 1.
        """
        inside: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if self.is_full(epoch):
            self._refit(model, epoch)
            inside = self._rounded(dict(model.named_parameters()))
        with inside:
            yield

    def squares(self) -> dict[str, float]:
        """Return the mean squared gradients of parameters, by name."""
        return {name: float(square) for name, square in self._squares.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of its state."""
        return dict(self._squares)

    def facts(self) -> dict[str, Any] | None:
        """Return the rest of its state, as JSON."""
        if self.grid is None:
            return None
        return {"epoch": self._epoch, "grid": self.grid.facts()}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any] | None) -> None:
        """Go back to where `tensors` and `facts` were called."""
        self._squares = {name: tensor.clone() for name, tensor in tensors.items()}
        self.grid = None if facts is None else self._coder.grid_of(facts["grid"])
        self._epoch = 0 if facts is None else facts["epoch"]

    def _refit(self, model: nn.Module, epoch: int) -> None:
        """Choose the grid for the model as it is now."""
        left = max(0, self._full - epoch) / max(1, self._full - self._eased)
        tensors = model.state_dict()
        self.grid = self._coder.grid_for(tensors, self.squares(), more_bits=left * EASE_BITS)
        self._epoch = epoch

    def _note(self, model: nn.Module) -> None:
        """Remember how large the gradients of a step are."""
        named = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        norms = torch._foreach_norm(list(named.values()))
        for (name, gradient), norm in zip(named.items(), norms, strict=True):
            mean = norm.square() / max(1, gradient.numel())
            old = self._squares.get(name, mean)
            self._squares[name] = MEMORY * old + (1 - MEMORY) * mean

    @contextmanager
    def _rounded(self, named: Mapping[str, Tensor]) -> Iterator[None]:
        """Have tensors of a model rounded for a while, then as they were."""
        assert self.grid is not None
        with torch.no_grad():
            kept = {name: each.detach().clone() for name, each in named.items()}
            for name, each in named.items():
                each.copy_(self.grid.rounded(name, kept[name]))
        try:
            yield
        finally:
            with torch.no_grad():
                for name, each in named.items():
                    each.copy_(kept[name])


def step(
    rounding: Rounding | None, model: nn.Module, epoch: int
) -> contextlib.AbstractContextManager[None]:
    """Return `Rounding.step`, or nothing to enter where nothing is rounded."""
    return rounding.step(model, epoch) if rounding else contextlib.nullcontext()


def grading(
    rounding: Rounding | None, model: nn.Module, epoch: int
) -> contextlib.AbstractContextManager[None]:
    """Return `Rounding.grading`, or nothing to enter where nothing is rounded."""
    return rounding.grading(model, epoch) if rounding else contextlib.nullcontext()


def measuring(
    rounding: Rounding | None, model: nn.Module, epoch: int
) -> contextlib.AbstractContextManager[None]:
    """Return `Rounding.measuring`, or nothing to enter where nothing is rounded."""
    return rounding.measuring(model, epoch) if rounding else contextlib.nullcontext()
