"""How banks start: fresh, at the deviations that the plan says, or fitted to weights.

What deviation is right, for a network's own initialiser and for the length of a first step, is
found when the plan is made (scale.py). Here a bank's templates are drawn at the deviation that its
group says, coefficient rows have the length that it says, and a reader that would start at another
deviation has a fixed gain. The SuperWeights code draws every template for a fan-in of 9, whatever
the layer.
"""

from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor, nn

from npas.plans import Bank, CoefficientStart, Group
from npas.recipes._composer import BankInit, Composer, Reader
from npas.spec import Spec

COEFFICIENTS: tuple[CoefficientStart, ...] = get_args(CoefficientStart)
"""How coefficients may start; see `fresh_coefficients`."""


class BankSettings(Spec):
    """What a plan may say of a group whose layers have coefficients of their own.

    Attributes:
        coefficients: how they start.
    """

    coefficients: CoefficientStart = "orthogonal"


def readers_of(group: Group, index: int) -> list[Reader]:
    """Return the readers of a bank of which every slot takes one row of coefficients."""
    bank = group.banks[index]
    return [
        Reader(number, row if bank.rows else None, group.gain(bank, slot, mixed=bank.rows > 0))
        for number, slot, row in ((n, s, s.rows[index]) for n, s in enumerate(group.slots))
        if row is not None
    ]


def fresh_bank(
    group: Group,
    index: int,
    generator: torch.Generator,
    kind: CoefficientStart = "orthogonal",
) -> BankInit:
    """Return random values for one bank: first the templates are drawn, then the coefficients."""
    templates, bank = fresh_templates(group, index, generator), group.banks[index]
    if not bank.rows:
        return BankInit(templates, None)
    rows = fresh_coefficients(bank, generator, kind)
    return BankInit(templates, rows * (group.row_length or 1.0))


def fresh_templates(group: Group, index: int, generator: torch.Generator) -> Tensor:
    """Return (K, D) normal templates of the deviation that the group says."""
    bank = group.banks[index]
    std = group.template_deviation(bank)
    return normal((bank.templates, bank.size), generator) * std


def normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw in float32, whatever torch's default: in another type others would be drawn."""
    return torch.randn(shape, generator=generator, dtype=torch.float32)


def fresh_coefficients(
    bank: Bank, generator: torch.Generator, kind: CoefficientStart = "orthogonal"
) -> Tensor:
    """Return (rows, K) coefficients, every row of length 1.

    Source: Savarese & Maire, section 3 and poster.

    Args:
        bank: of rows and templates.
        generator: of all that is random.
        kind: "orthogonal": where there are more rows than templates only the
            columns can be orthogonal, and the rows are brought back to length 1, which the
            papers' code leaves out. "sparse": normal, half of each row's entries (the smaller
            half) zero; the paper zeroes half of all, which may be all of a row. "identity": each
            row takes one template, in turn where there are fewer templates than rows.
    """
    if bank.templates == 1:
        return torch.ones(bank.rows, 1, dtype=torch.float32)
    if kind == "identity":
        return torch.eye(bank.templates, dtype=torch.float32)[
            torch.arange(bank.rows) % bank.templates
        ]
    if kind == "sparse":
        rows = normal((bank.rows, bank.templates), generator)
        order = torch.rand(rows.shape, generator=generator, dtype=rows.dtype).argsort(dim=1)
        rows = rows.masked_fill(order < bank.templates // 2, 0.0)
        return nn.functional.normalize(rows, dim=1)
    return orthogonal_rows(bank.rows, bank.templates, generator)


def orthogonal_rows(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Return (rows, columns), rows of length 1; orthogonal where there are enough columns."""
    tall = max(rows, columns), min(rows, columns)
    q, r = torch.linalg.qr(normal(tall, generator))
    q = q * torch.sign(torch.diagonal(r))
    return nn.functional.normalize(q if rows >= columns else q.t(), dim=1)


def fit_bank(
    group: Group, index: int, readers: Sequence[Reader], weights_MD: Tensor, *, seed: int = 0
) -> BankInit:
    """Return the templates and coefficients of one bank that come nearest to given weights.

    Args:
        group: of the bank.
        index: of the bank: which templates, and how many.
        readers: of the bank.
        weights_MD: what the bank is to give each reader; readers of one row of coefficients get
            their mean.
        seed: for templates that are not needed.
    """
    bank = group.banks[index]
    exact = torch.promote_types(weights_MD.dtype, torch.float32)  # nothing shorter has an SVD
    scale_M1 = torch.tensor([reader.gain for reader in readers], dtype=exact).unsqueeze(1)
    wanted_MD = weights_MD.to(exact) / scale_M1
    if not bank.rows:
        return BankInit(wanted_MD.mean(dim=0, keepdim=True), None)
    rows = torch.tensor([reader.row for reader in readers])
    merged = wanted_MD.new_zeros(bank.rows, wanted_MD.shape[1])
    merged.index_add_(0, rows, wanted_MD)
    merged /= torch.bincount(rows, minlength=merged.shape[0]).clamp(min=1).unsqueeze(1)
    u, s, v = torch.linalg.svd(merged, full_matrices=False)
    rank = min(bank.templates, len(s))
    scales = s[:rank].clamp(min=1e-12).sqrt()
    templates = fresh_templates(group, index, torch.Generator().manual_seed(seed)).to(exact)
    coefficients = wanted_MD.new_zeros(bank.rows, bank.templates)
    templates[:rank] = v[:rank] * scales.unsqueeze(1)
    coefficients[:, :rank] = u[:, :rank] * (s[:rank] / scales)
    return BankInit(templates, coefficients)


DESCENT_STEPS = 50
"""Steps of conjugate gradients; what is left then is hardly less after more."""


def fit_by_descent(
    composer: Composer,
    starts: list[BankInit],
    weights: Sequence[Tensor],
    *,
    fixed: Sequence[int] = (),
) -> list[BankInit]:
    """Return starts whose templates come nearest to given weights for the coefficients they have.

    Least squares by conjugate gradients, with nothing but the recipe's own two directions.

    Args:
        composer: of the group; its weights are linear in the templates of all free banks together.
        starts: one per bank.
        weights: one per slot.
        fixed: indices of banks that stay as they start.
    """
    exact = torch.promote_types(weights[0].dtype, torch.float32)
    mixing = [
        _mixing(start, readers).to(exact)
        for start, readers in zip(starts, composer.readers, strict=True)
    ]
    kept = {index: starts[index].templates.to(exact) for index in fixed}
    found = [torch.zeros_like(start.templates, dtype=exact) for start in starts]

    def with_fixed(banks: Sequence[Tensor]) -> list[Tensor]:
        return [kept.get(index, bank) for index, bank in enumerate(banks)]

    def pulled(residual: Sequence[Tensor]) -> list[Tensor]:
        back = composer.pull_back(with_fixed(found), mixing, residual)[0]
        return [bank * (index not in kept) for index, bank in enumerate(back)]

    rest = pulled([weight.to(exact) for weight in weights])
    direction, power = [r.clone() for r in rest], sum(r.square().sum() for r in rest)
    # What is left below the rounding of its precision is noise, and noise is followed to NaN.
    least = max(1e-20, float(power) * torch.finfo(exact).eps ** 2)
    for _ in range(DESCENT_STEPS):
        if power <= least:
            break
        image = [w.clone() for w in composer.compose(with_fixed(direction), mixing)]
        step = power / sum(w.square().sum() for w in image)
        back = pulled(image)
        found = [f + step * d for f, d in zip(found, direction, strict=True)]
        rest = [r - step * b for r, b in zip(rest, back, strict=True)]
        before, power = power, sum(r.square().sum() for r in rest)
        direction = [r + power / before * d for r, d in zip(rest, direction, strict=True)]
    pairs = zip(with_fixed(found), starts, strict=True)
    return [BankInit(templates, start.coefficients) for templates, start in pairs]


def _mixing(start: BankInit, readers: Sequence[Reader]) -> Tensor:
    alpha = start.coefficients
    rows, gains = rows_and_gains(readers, 0 if alpha is None else len(alpha))
    return mixing_matrix(alpha, rows, gains.to(start.templates))


def rows_and_gains(readers: Sequence[Reader], num_rows: int) -> tuple[Tensor, Tensor]:
    """Return the two arguments of `mixing_matrix` that follow from a bank's readers.

    Args:
        readers: of the bank.
        num_rows: rows of its coefficients.

    Returns:
        Rows of coefficients (M,), int64, and gains (M, 1), float64.
    """
    # A reader without coefficients takes the row of ones behind the last.
    rows = [num_rows if reader.row is None else reader.row for reader in readers]
    gains = torch.tensor([reader.gain for reader in readers], dtype=torch.float64)
    return torch.tensor(rows, dtype=torch.int64), gains.unsqueeze(1)


def mixing_matrix(coefficients: Tensor | None, rows: Tensor, gains_M1: Tensor) -> Tensor:
    """Return (M, K): each reader's coefficients times its gain, ones where it has none.

    Args:
        coefficients: (rows, K); None for a bank without.
        rows: (M,) from `rows_and_gains`.
        gains_M1: likewise, in the precision of the coefficients.
    """
    if coefficients is None:
        return gains_M1
    ones = coefficients.new_ones(1, coefficients.shape[1])
    return torch.cat((coefficients, ones))[rows] * gains_M1
