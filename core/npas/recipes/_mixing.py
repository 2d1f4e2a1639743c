"""Templates mixed for all readers of a bank, those who joined it later apart from the others."""

from collections.abc import Sequence

import torch
from torch import Tensor


def mixed(
    mixing_MK: Tensor, templates_KD: Tensor, out_MD: Tensor, *, ends: Sequence[int]
) -> Tensor:
    """Return a mix of templates for each row, (M, D), in memory that is there.

    A matrix product may give other last bits for a row where there are more of them. So rows that
    came later are a product of their own.

    Args:
        mixing_MK: rows of mixing weights.
        templates_KD: templates.
        out_MD: for the result.
        ends: how many rows there were each time before others came.
    """
    start = 0
    for end in (*ends, len(mixing_MK)):
        if end > start:
            torch.mm(mixing_MK[start:end], templates_KD, out=out_MD[start:end])
        start = end
    return out_MD
