"""The papers' way to compose weights, as a plain twin: each layer inside its own forward.

Source: the released code of soft sharing (products summed over templates in every convolution)
and of SuperWeights (slices of a flat bank, products summed over templates, then concatenation
block by block). Same plan, same parameters, same weights as `npas.share`; only the way of
computing differs.
"""

import math
from typing import Any

import torch
from npas.plans import Group, Plan, Slot, blocks
from npas.sharing.group import SharedGroup
from npas.sharing.model import SharedModel
from torch import Tensor, nn


class Twin(nn.Module):
    """A network whose layers compose their weights one by one, with autograd through every sum."""

    def __init__(self, model: SharedModel) -> None:
        super().__init__()
        (self.network,) = model.networks
        self.banks = nn.ParameterList()
        for group in model.plan.groups:
            shared = model.groups[group.name]
            assert isinstance(shared, SharedGroup)
            self._hook(model.plan, group, shared)

    def _hook(self, plan: Plan, group: Group, shared: SharedGroup) -> None:
        """Let every layer of a group compose its weight just before it runs."""
        assert len(plan.networks) == 1
        templates = list(shared.templates)
        alphas = shared._coefficients()
        for parameter in shared.parameters():
            self.banks.append(parameter)
        gains = [iter(gain.flatten().tolist()) for gain in shared._gains]
        for slot in group.slots:
            path, _, attribute = slot.layer.rpartition(".")
            reads = [
                (templates[b], alphas[b], row, next(gains[b]), b)
                for b, first in enumerate(slot.rows)
                if first is not None
                for row in range(first, first + _blocks_of(group, slot))
            ]
            module = self.network.get_submodule(path)

            def compose(module: nn.Module, _: Any, slot: Any = slot, reads: Any = reads) -> None:
                pieces = [
                    (
                        b,
                        templates[0] * gain
                        if alpha is None
                        else _sum(templates, alpha[row], gain),
                    )
                    for templates, alpha, row, gain, b in reads
                ]
                module.__dict__["weight"] = _assembled(group, slot.shape, pieces)

            assert attribute == "weight"
            module.register_forward_pre_hook(compose)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits."""
        logits: Tensor = self.network(x)
        return logits


def _sum(templates_KD: Tensor, alpha_K: Tensor, gain: float) -> Tensor:
    """Return sum_k alpha_k T_k as the papers write it: all products, then their sum."""
    return (templates_KD * (alpha_K * gain).unsqueeze(1)).sum(0)


def _blocks_of(group: Group, slot: Slot) -> int:
    """Return how many blocks of one bank a layer has, each with a row of its own."""
    if group.recipe != "stack":
        return 1
    assert not group.settings, "the twin stacks blocks in their order only"
    return math.prod(blocks.num_blocks(slot.shape, group.banks[0].shape))


def _stacked(group: Group, shape: tuple[int, ...], pieces: list[Tensor]) -> Tensor:
    """Concatenate equal blocks: rows of blocks, then columns, cropped at the far borders."""
    block = group.banks[0].shape
    wide = blocks.num_blocks(shape, block)[1]
    views = [piece.view(block) for piece in pieces]
    rows = [torch.cat(views[i : i + wide], dim=1) for i in range(0, len(views), wide)]
    return torch.cat(rows)[: shape[0], : shape[1]]


def _assembled(group: Group, shape: tuple[int, ...], pieces: list[tuple[int, Tensor]]) -> Tensor:
    """Concatenate blocks: columns to the right, then rows below, block after block."""
    if group.recipe == "mix":
        return pieces[0][1].view(shape)
    if group.recipe == "stack":
        return _stacked(group, shape, [piece for _, piece in pieces])
    shapes = tuple(bank.shape for bank in group.banks)
    taps = math.prod(shape[2:])
    weight: Tensor | None = None
    for b, piece in pieces:
        for rect in blocks.added(shapes[:b], shapes[b]):
            start = rect.offset * taps
            block = piece[start : start + rect.area * taps].view(
                rect.bottom - rect.top, rect.right - rect.left, *shape[2:]
            )
            below = weight is None or rect.left == 0
            weight = block if weight is None else torch.cat([weight, block], dim=0 if below else 1)
    assert weight is not None
    assert tuple(weight.shape) == shape, "the twin composes nested shapes only"
    return weight
