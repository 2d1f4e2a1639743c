"""Rounds the networks of one plan for a file of so many bytes, in the training and after it."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from npas.delivery.coded.file import FORMAT, Content
from npas.delivery.coded.fitting import CODER, ROW_BYTES, Fitted, Sizes, fitted
from npas.delivery.coded.grid import LEAST_DIGITS, Grid, by_gradients, scales
from npas.planning.file_budget import state_of
from npas.plans import Plan
from npas.plans.rounding import is_weight

_STANDIN = {
    "accuracy": 0.1234567890123456,
    "dataset": "dataset",
    "dataset_fingerprint": hashlib.sha256(b"").hexdigest(),
    "mean": [0.4913725490196079, 0.4823529411764706, 0.4466666666666667],
    "std": [0.2470588235294118, 0.2435294117647059, 0.2615686274509804],
}
"""What a job says beside the plan, about."""


class Coder:
    """Of the networks of a plan, and a budget in bytes.

    Attributes:
        budget: bytes of the whole file.
    """

    def __init__(self, plan: Plan, budget: int) -> None:
        """Code nothing yet.

        Args:
            plan: of the networks.
            budget: bytes of the whole file.
        """
        self.budget = budget
        self._readers, self._buffers = num_readers(plan), _buffers(plan)
        self._note = {"plan": json.loads(plan.to_json()), "extra": _STANDIN}

    def fitted(
        self,
        tensors: Mapping[str, Tensor],
        note: Mapping[str, Any],
        *,
        reserve: int = 0,
        squares: Mapping[str, float] | None = None,
    ) -> Fitted:
        """Round a network so that its file is as large as it may be.

        Args:
            tensors: its state.
            note: the plan and what lies beside it, JSON.
            reserve: bytes of the budget that are left.
            squares: mean squared gradients of its parameters; None: they are not known.

        Raises:
            CheckpointError: it does not fit with the coarsest steps, or is no number somewhere.
            MissingPackageError: brotli is not installed.
        """
        relative = self._relative(tensors, squares or {})
        note, budget = {**note, "format": FORMAT}, self.budget - reserve
        return fitted(tensors, relative, note, budget, kept=self._kept(tensors))

    def grid_for(
        self,
        tensors: Mapping[str, Tensor],
        squares: Mapping[str, float],
        *,
        more_bits: float = 0.0,
    ) -> Grid:
        """Return the grid for a network in training, by entropy: nothing of it is coded."""
        on_cpu = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
        relative = self._relative(on_cpu, squares)
        others = {name: each for name, each in on_cpu.items() if name not in relative}
        kept = self._kept(on_cpu)
        plain = Grid(steps={}, digits=LEAST_DIGITS, kept=kept)
        rest = Content.of(others, plain).num_bytes(self._note)
        more = more_bits / 8 * sum(on_cpu[name].numel() for name in relative)
        room = (self.budget - rest - ROW_BYTES * len(relative)) / CODER + more
        sizes = Sizes(on_cpu, relative, kept)
        return sizes.grid(sizes.factor_for(room))

    def grid_of(self, facts: Mapping[str, Any]) -> Grid:
        """Return the grid that `Grid.facts` told."""
        return Grid(**facts)

    def _relative(
        self, tensors: Mapping[str, Tensor], squares: Mapping[str, float]
    ) -> dict[str, float]:
        weights = {
            name: each
            for name, each in tensors.items()
            if is_weight(name, str(each.dtype), each.dim(), is_buffer=name in self._buffers)
        }
        found = scales(weights, self._readers)
        return by_gradients(found, squares)

    def _kept(self, tensors: Mapping[str, Tensor]) -> list[str]:
        """Return float32 buffers that are kept exactly: of several dimensions, or infinite."""
        return [
            name
            for name, each in tensors.items()
            if name in self._buffers and each.dtype == torch.float32
            if each.dim() > 1 or (bool(each.isinf().any()) and not bool(each.isnan().any()))
        ]


def refitted(
    tensors: Mapping[str, Tensor], note: Mapping[str, Any], facts: Mapping[str, Any]
) -> Fitted | None:
    """Return the file of a network that was read from one, as it was; None: it changed since.

    Args:
        tensors: its state.
        note: the plan and what lies beside it, JSON.
        facts: of the grid, from `Grid.facts`.

    Raises:
        MissingPackageError: brotli is not installed.
    """
    grid, note = Grid(**facts), {**note, "format": FORMAT}
    content = Content.of_rounded(tensors, grid)
    if content is None:
        return None
    size = content.num_bytes(note)
    return Fitted(grid=grid, content=content, note=note, file_bytes=size, why_less="")


def _buffers(plan: Plan) -> frozenset[str]:
    """Return the names of the buffers of a plan's networks, as in the state."""
    return frozenset(
        f"networks.{index}.{name}"
        for index, network in enumerate(plan.networks)
        for name, _, _, is_buffer in state_of(network.architecture)
        if is_buffer
    )


def num_readers(plan: Plan) -> dict[str, float]:
    """Return how many weights read each scalar of a template, on average, by its tensor's name."""
    found = {}
    for group in plan.groups:
        for index, bank in enumerate(group.banks):
            read = [slot for slot in group.slots if slot.rows[index] is not None]
            weights = sum(math.prod(slot.shape) for slot in read)
            found[f"groups.{group.name}.templates.{index}"] = weights / bank.num_template_scalars
    return found
