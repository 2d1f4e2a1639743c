"""The ways in which one layer reads a flat bank, each with its transpose.

Their geometry is in `npas.plans.windows`.

Axis letters: B scalars of the bank, N of the weight, M rows of mixing weights of the layer.
"""

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from npas.plans.windows import MASK, Reading
from npas.recipes._enlarge import Enlarger
from npas.recipes._start import orthogonal_rows


class FlatLayout(Protocol):
    """How one layer is made of a bank; linear in the bank and linear in its mixing weights.

    Attributes:
        ones: rows of mixing weights without a coefficient, before those with one.
        power: share of the bank's variance that is left at mixing weights as `fresh` draws them.
    """

    ones: int
    power: float

    def fresh(self, generator: torch.Generator) -> Tensor:
        """Return (coefficients,) to start with."""

    def compose(self, bank_B: Tensor, mixing_M: Tensor, weight_N: Tensor) -> None:
        """Write the weight."""

    def pull_back(
        self, bank_B: Tensor, mixing_M: Tensor, gradient_N: Tensor, of_bank_B: Tensor
    ) -> Tensor:
        """Add to the bank's gradient, and return that of the mixing weights, (M,)."""


class Windows:
    """A mix of windows of the layer's size; one window is read as it is."""

    power = 1.0

    def __init__(self, shape: tuple[int, ...], found: Reading, bank: int) -> None:  # noqa: ARG002
        self._starts, self._size = found.starts, math.prod(shape)
        self._coefficients = found.coefficients
        self.ones = 0 if found.coefficients else 1

    def fresh(self, generator: torch.Generator) -> Tensor:
        """Return a random direction of length 1."""
        return orthogonal_rows(1, self._coefficients, generator)[0]

    def _views(self, bank_B: Tensor) -> list[Tensor]:
        return [bank_B[start : start + self._size] for start in self._starts]

    def compose(self, bank_B: Tensor, mixing_M: Tensor, weight_N: Tensor) -> None:
        """Write the mix."""
        views = self._views(bank_B)
        columns_NM = torch.stack(views, dim=1) if len(views) > 1 else views[0].unsqueeze(1)
        torch.mv(columns_NM, mixing_M, out=weight_N)

    def pull_back(
        self, bank_B: Tensor, mixing_M: Tensor, gradient_N: Tensor, of_bank_B: Tensor
    ) -> Tensor:
        """Add to every window what it gave."""
        for view, factor in zip(self._views(of_bank_B), mixing_M.unbind(), strict=True):
            torch.addcmul(view, gradient_N, factor, out=view)
        return torch.stack([view @ gradient_N for view in self._views(bank_B)])


class Repeat:
    """Copies of the bank, end to end; the last one is cut."""

    power, ones = 1.0, 1

    def __init__(self, shape: tuple[int, ...], found: Reading, bank: int) -> None:  # noqa: ARG002
        self._size = math.prod(shape)
        self._copies = -(-self._size // bank)

    def fresh(self, generator: torch.Generator) -> Tensor:  # noqa: ARG002 - there are none
        """Return no coefficients."""
        return torch.empty(0)

    def _factors(self, bank_B: Tensor, mixing_M: Tensor) -> Tensor:
        """Return factors for all copies, (copies, B) or (copies, 1)."""
        return mixing_M.expand(self._copies).unsqueeze(1).to(bank_B)

    def compose(self, bank_B: Tensor, mixing_M: Tensor, weight_N: Tensor) -> None:
        """Write the copies."""
        copies = self._factors(bank_B, mixing_M) * bank_B
        weight_N.copy_(copies.flatten()[: self._size])

    def _padded(self, gradient_N: Tensor, bank_B: Tensor) -> Tensor:
        missing = self._copies * len(bank_B) - self._size
        return torch.nn.functional.pad(gradient_N, (0, missing)).view(self._copies, -1)

    def pull_back(
        self, bank_B: Tensor, mixing_M: Tensor, gradient_N: Tensor, of_bank_B: Tensor
    ) -> Tensor:
        """Add up what the copies got."""
        gradients = self._padded(gradient_N, bank_B)
        of_bank_B += (self._factors(bank_B, mixing_M) * gradients).sum(dim=0)
        return self._of_mixing(gradients * bank_B)

    def _of_mixing(self, products: Tensor) -> Tensor:
        return products.sum().view(1)


class Mask(Repeat):
    """Copies of which all but the first stand under masks; a row of a mask has 9 factors."""

    def __init__(self, shape: tuple[int, ...], found: Reading, bank: int) -> None:
        super().__init__(shape, found, bank)
        self._coefficients = found.coefficients
        self._rows = (self._copies - 1, min(MASK, bank))

    def fresh(self, generator: torch.Generator) -> Tensor:
        """Return random signs."""
        return torch.randint(0, 2, (self._coefficients,), generator=generator) * 2.0 - 1.0

    def _factors(self, bank_B: Tensor, mixing_M: Tensor) -> Tensor:
        own, wide = mixing_M[1:], self._rows[1]
        masks = torch.nn.functional.pad(own, (0, math.prod(self._rows) - len(own)))
        masks = masks.view(self._rows)
        whole = masks.repeat(1, -(-len(bank_B) // wide))[:, : len(bank_B)]
        return torch.cat((mixing_M[0].expand(1, len(bank_B)), whole))

    def _of_mixing(self, products: Tensor) -> Tensor:
        first, rest = products[0].sum().view(1), products[1:]
        wide = self._rows[1]
        rest = torch.nn.functional.pad(rest, (0, -rest.shape[1] % wide))
        masks = rest.view(len(rest), -1, wide).sum(dim=1)
        return torch.cat((first, masks.flatten()[: self._coefficients]))


class Wavg:
    """Pieces as long as half the bank, each a mix of the bank's two halves."""

    power, ones = 1.0, 0

    def __init__(self, shape: tuple[int, ...], found: Reading, bank: int) -> None:
        self._size, self._half = math.prod(shape), bank // 2
        self._pieces = found.coefficients // 2

    def fresh(self, generator: torch.Generator) -> Tensor:
        """Return random directions of length 1."""
        return orthogonal_rows(self._pieces, 2, generator).flatten()

    def _halves(self, bank_B: Tensor) -> Tensor:
        return bank_B[: 2 * self._half].view(2, self._half)

    def compose(self, bank_B: Tensor, mixing_M: Tensor, weight_N: Tensor) -> None:
        """Write the pieces."""
        pieces = mixing_M.view(-1, 2) @ self._halves(bank_B)
        weight_N.copy_(pieces.flatten()[: self._size])

    def pull_back(
        self, bank_B: Tensor, mixing_M: Tensor, gradient_N: Tensor, of_bank_B: Tensor
    ) -> Tensor:
        """Add to both halves what they gave."""
        missing = self._pieces * self._half - self._size
        pieces = torch.nn.functional.pad(gradient_N, (0, missing)).view(-1, self._half)
        self._halves(of_bank_B).add_(mixing_M.view(-1, 2).t() @ pieces)
        return (pieces @ self._halves(bank_B).t()).flatten()


class Interpolate:
    """The first scalars of the bank as a grid of kernels, enlarged to the layer's channels."""

    ones = 1

    def __init__(self, shape: tuple[int, ...], found: Reading, bank: int) -> None:
        self._shape, self._span = shape, found.span
        self._enlarger = Enlarger((shape[0], shape[1]), found.grid)
        # A bank starts with mean 0 exactly, so that its scalars are a little opposed.
        self.power = (bank * self._enlarger.power - 1) / (bank - 1) if bank > 1 else 1.0

    def fresh(self, generator: torch.Generator) -> Tensor:  # noqa: ARG002 - there are none
        """Return no coefficients."""
        return torch.empty(0)

    def compose(self, bank_B: Tensor, mixing_M: Tensor, weight_N: Tensor) -> None:
        """Write the enlarged grid."""
        enlarged = self._enlarger.compose(bank_B[: self._span])
        torch.mul(enlarged.flatten(), mixing_M, out=weight_N)

    def pull_back(
        self, bank_B: Tensor, mixing_M: Tensor, gradient_N: Tensor, of_bank_B: Tensor
    ) -> Tensor:
        """Add to the grid what it gave."""
        gradient = gradient_N.view(self._shape[0], self._shape[1], -1)
        of_grid = self._enlarger.pull_back(gradient)
        of_bank_B[: self._span].add_(of_grid * mixing_M)
        return (of_grid @ bank_B[: self._span]).view(1)


WAYS: dict[str, Callable[[tuple[int, ...], Reading, int], FlatLayout]] = {
    "windows": Windows,
    "repeat": Repeat,
    "mask": Mask,
    "wavg": Wavg,
    "interpolate": Interpolate,
}
