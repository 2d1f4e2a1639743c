"""What the benchmarks of a step run: the methods, one training step, one evaluation.

No names of npas but public ones: benchmarks.step_against runs this with other checkouts.
"""

from collections.abc import Callable
from typing import Any

import torch
from npas.spec import BudgetSpec
from torch import Tensor, nn
from torch.nn import functional as F

METHODS: dict[str, dict[str, Any]] = {
    "soft_sharing, 2 templates": {"method": "soft_sharing", "templates": 2},
    "soft_sharing, 6 templates": {"method": "soft_sharing", "templates": 6},
    "block_mix, 50 %": {
        "method": "block_mix",
        "budget": BudgetSpec(fraction=0.5),
        "keep_plain": False,
    },
    "superweights, nested, 50 %": {
        "method": "superweights",
        "budget": BudgetSpec(fraction=0.5),
        "blocks": "nest",
    },
}
COMPILED: dict[str, dict[str, Any]] = {
    "soft_sharing, 2 templates": METHODS["soft_sharing, 2 templates"],
    "ssn, 50 %": {"method": "ssn", "budget": BudgetSpec(fraction=0.5)},
    "superweights, 50 %": {"method": "superweights", "budget": BudgetSpec(fraction=0.5)},
    "block_mix, 50 %": METHODS["block_mix, 50 %"],
}
SETTINGS = [("wrn-28-2", 128, 9), ("wrn-28-2", 32, 25), ("wrn-28-2", 8, 51), ("wrn-28-10", 8, 9)]
"""Network, batch size, rounds."""


def training_step(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """Return one step: forward, backward, SGD with Nesterov momentum."""
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True
    )
    model.train()

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]  # torch's
        optimizer.step()

    return step


def evaluation(model: nn.Module, x: Tensor) -> Callable[[], object]:
    """Return one evaluation without gradients."""
    model.eval()

    def evaluate() -> object:
        with torch.no_grad():
            return model(x)

    return evaluate
