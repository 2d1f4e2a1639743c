"""Networks that are trained together learn from each other's answers.

Source: Zhang et al., "Deep Mutual Learning", CVPR 2018, section 2.2; `EnsembleSpec` says where
this differs.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from npas.tasks import kl_divergence


def learned_from_others(logits: Mapping[str, Tensor], *, temperature: float) -> dict[str, Tensor]:
    """Return for each network T^2 times the mean over the others of KL(other || network).

    Gradients go to the network that learns alone. T^2 keeps them about as large at all
    temperatures, as for a teacher.

    Args:
        logits: of at least two networks, for the same images.
        temperature: T, > 0; divides the logits.
    """
    said = {
        name: functional.log_softmax(each.detach().float() / temperature, dim=1)
        for name, each in logits.items()
    }
    return {
        name: temperature**2
        * torch.stack(
            [
                kl_divergence(each, theirs, temperature=temperature)
                for other, theirs in said.items()
                if other != name
            ]
        ).mean()
        for name, each in logits.items()
    }
