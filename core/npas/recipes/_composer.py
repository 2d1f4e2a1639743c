"""What every recipe promises, and what it is asked with."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from npas.plans import Group, Slot
from npas.recipes._part import Part


class Reader(NamedTuple):
    """Where one row of mixing weights comes from: coefficients[row] * gain.

    Attributes:
        slot: whose weight it makes, an index into the group's slots.
        row: of the bank's coefficients; None for ones, templates taken as they are.
        gain: fixed factor.
    """

    slot: int
    row: int | None
    gain: float


class BankInit(NamedTuple):
    """Values for one bank.

    Attributes:
        templates: (K, D).
        coefficients: (rows, K); None for a bank without.
    """

    templates: Tensor
    coefficients: Tensor | None


class Composer(Protocol):
    """What RECIPE(group) returns: the two directions of one group's linear map.

    Promises: `compose` writes every scalar of every weight and reads every scalar of every
    template; `pull_back` is its exact transpose. None keeps the tensors it is given. Work space
    that is reused comes from `npas.recipes._buffers.buffer`, which gives new memory where an
    earlier result is still in use. Calls come one at a time, and never under autocast.

    Attributes:
        readers: for each bank, its rows of mixing weights.
    """

    readers: Sequence[Sequence[Reader]]

    def __init__(self, group: Group) -> None:
        """Raise PlanError for a group whose banks are not what its slots need."""

    def compose(self, templates: Sequence[Tensor], mixing: Sequence[Tensor]) -> list[Tensor]:
        """Return the weights of all slots, in the order of the plan.

        Args:
            templates: one (K, D) tensor per bank.
            mixing: one (M, K) tensor per bank, rows in the order of `readers`.
        """

    def pull_back(
        self,
        templates: Sequence[Tensor],
        mixing: Sequence[Tensor],
        gradients: Sequence[Tensor | None],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the gradients of templates and mixing for the gradients of all weights.

        Args:
            templates: as in `compose`.
            mixing: as in `compose`.
            gradients: one per slot, None where the weight took no part.
        """

    def fresh(self, generator: torch.Generator) -> list[BankInit]:
        """Return values to start training from, one per bank.

        Every weight has mean 0 and variance 2 / fan-in, as Kaiming's rule asks for.

        Args:
            generator: of all that is random, on the CPU.
        """

    def fit(self, weights: Sequence[Tensor]) -> list[BankInit]:
        """Return values that come near to given weights, one per bank; exact where it can be.

        Args:
            weights: one per slot, on the CPU.
        """

    def part(self, slots: Sequence[int]) -> Part:
        """Return some of the layers as a group that makes the same weights of copies.

        Its banks hold what these layers read, and as little else as can be; see
        `npas.recipes.part`.

        Args:
            slots: indices of the layers, ascending; some, and not all.
        """


@runtime_checkable
class Unrolled(Protocol):
    """What RECIPE(group) returns where `compose` is not what an exported file should do."""

    def unrolled(
        self, templates: Sequence[Tensor], mixing: Sequence[Tensor]
    ) -> list[Tensor] | None:
        """Return the weights of all slots by plain operations, each into new memory.

        Of such that every runtime has: nothing is written in place, and nothing is looked up in
        tables. None where tables as large as the weights would be needed: a file is smaller with
        the weights themselves. Of a recipe without this, `compose` is exported as it is.

        Args:
            templates: as in `compose`.
            mixing: as in `compose`.
        """


MatrixShape = tuple[int, int]
"""Outputs, and all else: inputs and taps of a kernel together."""


@runtime_checkable
class OfMatrices(Protocol):
    """What RECIPE(group) returns where templates are weights, or blocks of weights."""

    def matrices(self) -> Sequence[Sequence[MatrixShape]]:
        """Return for each bank the matrices that lie one after another in each template.

        They are all of the template; none, where a bank holds something else.
        """


class Joinable(Composer, Protocol):
    """What RECIPE(group) returns where layers can join a group later."""

    def with_layer(self, slot: Slot) -> Group | None:
        """Return the group with one layer more at the end, which reads the same templates.

        None where it cannot make that weight of them. See `npas.recipes.with_layer`.

        Args:
            slot: of the layer.
        """
