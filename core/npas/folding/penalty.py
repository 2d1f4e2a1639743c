"""The pull towards recurrence: a penalty that makes layers of a group alike.

Source: Savarese & Maire, ICLR 2019, section 3: the loss is L - lambda sum_ij S_ij, S the absolute
cosine of coefficients, over all pairs, the constant diagonal among them. It moves coefficients
alone, never templates.
Difference: by default the cosines are squared. The sum of absolute cosines has local maxima far
from recurrence (three directions 60 degrees apart in a plane are one), and gradient ascent from
orthogonal rows often ends in one where there are more layers than templates: 4 rows of 3
coefficients reach a least cosine of 0.57 in the mean at best, with squares 1 (docs/decisions,
0007). "absolute" is the paper's.
"""

from typing import cast

import torch
from torch import Tensor, nn

from npas.folding.similarity import comparable, cosine_of_coefficients, has_own_rows
from npas.methods import planned_by
from npas.plans import Plan
from npas.sharing.group import SharedGroup
from npas.sharing.model import SharedModel
from npas.train.objective import Penalty


def recurrence_penalty(plan: Plan) -> Penalty | None:
    """Return the term that the plan's method adds to the loss; None without one."""
    method, options = planned_by(plan)
    wanted = method.recurrence(options)
    groups = [group for group in comparable(plan) if has_own_rows(group)]
    if wanted is None or not groups:
        return None
    strength, power = wanted.strength, 1 if wanted.form == "absolute" else 2

    def penalty(model: nn.Module) -> Tensor:
        shared = cast(SharedModel, model).groups
        sums = [
            cosine_of_coefficients(group, cast(SharedGroup, shared[group.name]))
            .abs()
            .pow(power)
            .sum()
            for group in groups
        ]
        return -strength * torch.stack(sums).sum()

    return penalty
