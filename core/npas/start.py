"""How banks start: fresh, at the variance each layer's fan-in asks for, or fitted to weights.

Source: Kaiming initialisation, variance 2 / fan_in. The SuperWeights code draws every template
for a fan-in of 9, whatever the layer; here a bank is drawn for the layer whose shape it
completes, coefficient rows have length 1, and a reader of another fan-in has a fixed gain near
1. (Unit-variance templates with the whole scale in the gain would divide the effective learning
rate by the gain's square.)
"""

import math

import torch
from torch import Tensor, nn

from npas.plans import Bank, Group


def fan_in(shape: tuple[int, ...]) -> int:
    """Return the inputs of one output unit."""
    return math.prod(shape[1:])


def gains(group: Group, index: int) -> list[float]:
    """Return the fixed factor of every reader of a bank, in the order of the slots."""
    completed = fan_in(group.banks[index].shape)
    return [
        math.sqrt(completed / fan_in(slot.shape))
        for slot in group.slots
        if slot.rows[index] is not None
    ]


def fresh_templates(group: Group, index: int, generator: torch.Generator) -> Tensor:
    """Return (K, D) normal templates with variance 2 / fan_in of the shape the bank completes."""
    bank = group.banks[index]
    std = math.sqrt(2 / fan_in(bank.shape))
    return torch.randn(bank.templates, bank.size, generator=generator) * std


def fresh_coefficients(bank: Bank, generator: torch.Generator) -> Tensor:
    """Return (rows, K) coefficients: orthogonal, every row of length 1.

    Source: Savarese & Maire, section 3; where there are more rows than templates only the
    columns can be orthogonal, and the rows are brought back to length 1, which the papers' code
    leaves out.
    """
    if bank.templates == 1:
        return torch.ones(bank.rows, 1)
    tall = max(bank.rows, bank.templates), min(bank.rows, bank.templates)
    q, r = torch.linalg.qr(torch.randn(tall, generator=generator))
    q = q * torch.sign(torch.diagonal(r))
    rows = q if bank.rows >= bank.templates else q.t()
    return nn.functional.normalize(rows, dim=1)


def fit_bank(
    group: Group,
    index: int,
    weights_LD: Tensor,
    templates: Tensor,
    coefficients: Tensor | None,
) -> None:
    """Write the templates and coefficients that come nearest to given weights, in place.

    Args:
        group: the group.
        index: which of its banks.
        weights_LD: what the bank stores of each reader's weight, as the recipe gathers it.
        templates: (K, D), written.
        coefficients: (rows, K), written; rows that several slots share get their mean.
    """
    exact = torch.promote_types(weights_LD.dtype, torch.float32)  # nothing shorter has an SVD
    scale_L1 = torch.tensor(gains(group, index), dtype=exact).unsqueeze(1)
    wanted_LD = weights_LD.to(exact) / scale_L1
    if coefficients is None:
        templates.copy_(wanted_LD.mean(dim=0, keepdim=True))
        return
    rows = torch.tensor([slot.rows[index] for slot in group.slots if slot.rows[index] is not None])
    merged = wanted_LD.new_zeros(coefficients.shape[0], wanted_LD.shape[1])
    merged.index_add_(0, rows, wanted_LD)
    merged /= torch.bincount(rows, minlength=merged.shape[0]).clamp(min=1).unsqueeze(1)
    u, s, v = torch.linalg.svd(merged, full_matrices=False)
    rank = min(templates.shape[0], len(s))
    scales = s[:rank].clamp(min=1e-12).sqrt()
    templates.copy_(fresh_templates(group, index, torch.Generator().manual_seed(index)))
    coefficients.zero_()
    templates[:rank] = v[:rank] * scales.unsqueeze(1)
    coefficients[:, :rank] = u[:, :rank] * (s[:rank] / scales)
