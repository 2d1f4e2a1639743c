"""Muon for matrices, and AdamW for all else, as one optimiser.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; Liu et al.,
"Muon is Scalable for LLM Training", 2025, whose scale of the steps lets both optimisers have one
learning rate and one decay. Both are torch's own. What is a matrix: every template that is a
weight or a block of one, the outputs against all else, each template for itself; every weight of
convolutions, linear layers, attention and recurrent layers that is not composed. Templates that
are read in an order of chance, or as a flat row of numbers, have no rows and columns: they are
AdamW's, as are coefficients, norms, biases and embeddings.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from npas.recipes import MatrixShape
from npas.sharing.group import SharedGroup

MOMENTUM = "momentum_buffer"
"""torch's name of what Muon and SGD remember."""


def matrices_of(model: nn.Module) -> dict[nn.Parameter, Sequence[MatrixShape]]:
    """Return the parameters of a model that are made of matrices, and their shapes.

    They lie one after another: in each row of a parameter of templates anew, in the whole of any
    other parameter.
    """
    found: dict[nn.Parameter, Sequence[MatrixShape]] = {}
    for module in model.modules():
        if isinstance(module, SharedGroup):
            banks = zip(module.templates, module.matrices(), strict=True)
            found |= {templates: shapes for templates, shapes in banks if shapes}
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if (shape := matrix_shape(name, tuple(parameter.shape))) is not None:
                found[parameter] = [shape]
    tables = (each for each in model.modules() if isinstance(each, nn.Embedding | nn.EmbeddingBag))
    embedded = {id(table.weight) for table in tables}  # also where a layer reads the same one
    return {each: shapes for each, shapes in found.items() if id(each) not in embedded}


def matrix_shape(name: str, shape: tuple[int, ...]) -> MatrixShape | None:
    """Return the shape of a parameter as a matrix, outputs against all else; None: it is none.

    Args:
        name: that its module gives it.
        shape: of the parameter.
    """
    if "weight" not in name or len(shape) < 2:
        return None
    rest = math.prod(shape[1:])
    return (shape[0], rest) if min(shape[0], rest) > 1 else None


class MuonAndAdamW(torch.optim.Optimizer):
    """Both as one; what it remembers lies in its state as torch's own two name it."""

    def __init__(
        self,
        groups: Sequence[Mapping[str, Any]],
        matrices: Mapping[nn.Parameter, Sequence[MatrixShape]],
        *,
        lr: float,
        momentum: float,
        nesterov: bool,
    ) -> None:
        """Take over the parameters.

        Args:
            groups: "params" and "weight_decay".
            matrices: from `matrices_of`.
            lr: learning rate of both.
            momentum: of Muon, and beta 1 of AdamW.
            nesterov: of Muon.
        """
        super().__init__([dict(group) for group in groups], {"lr": lr})
        self._matrices = dict(matrices)
        decays = [group["weight_decay"] for group in groups]
        self._muon = torch.optim.Muon(
            [{"params": [], "weight_decay": decay} for decay in decays],
            lr=lr,
            momentum=momentum,
            nesterov=nesterov,
            adjust_lr_fn="match_rms_adamw",
        )
        others = [
            [each for each in group["params"] if each not in self._matrices] for group in groups
        ]
        self._adamw = torch.optim.AdamW(
            [
                {"params": params, "weight_decay": decay}
                for params, decay in zip(others, decays, strict=True)
            ],
            lr=lr,
            betas=(momentum, 0.999),
            fused=True,
        )
        self._adamw.state = self.state

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # none is taken
        """Move the parameters that have a gradient."""
        del closure
        copies: list[tuple[Tensor, Tensor]] = []
        groups = zip(
            self.param_groups, self._muon.param_groups, self._adamw.param_groups, strict=True
        )
        for group, of_muon, of_adamw in groups:
            of_muon["lr"] = of_adamw["lr"] = group["lr"]
            of_muon["params"] = []
            for parameter in group["params"]:
                if parameter in self._matrices and parameter.grad is not None:
                    of_muon["params"] += self._stand_ins(parameter, copies)
        self._adamw.step()
        self._muon.step()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        self._muon.state.clear()
        for parameter, copy in copies:
            parameter.copy_(copy.view(parameter.shape))

    def _stand_ins(
        self, parameter: nn.Parameter, copies: list[tuple[Tensor, Tensor]]
    ) -> list[Tensor]:
        """Return the matrices of a parameter, with gradients and momenta, for one step of Muon.

        They are views; where memory is laid out otherwise, they are copies, noted as such.
        """
        state = self.state[parameter]
        if MOMENTUM not in state:
            state[MOMENTUM] = torch.zeros(
                parameter.shape, dtype=parameter.dtype, device=parameter.device
            )
        whole = parameter.detach().reshape(-1)
        if whole.data_ptr() != parameter.data_ptr():
            copies.append((parameter, whole))
        assert parameter.grad is not None
        shapes = self._matrices[parameter]
        found = list(_cut(whole, shapes))
        gradients = _cut(parameter.grad.reshape(-1), shapes)
        momenta = _cut(state[MOMENTUM].view(-1), shapes)
        for matrix, gradient, momentum in zip(found, gradients, momenta, strict=True):
            matrix.grad = gradient
            self._muon.state[matrix] = {MOMENTUM: momentum}
        return found


def _cut(whole: Tensor, shapes: Sequence[MatrixShape]) -> Iterable[Tensor]:
    """Yield matrices of these shapes, as often as they fit into a vector, one after another."""
    sizes = [math.prod(shape) for shape in shapes]
    for row in whole.view(-1, sum(sizes)).unbind():
        pieces = row.split(sizes)  # type: ignore[no-untyped-call]  # as above
        for piece, shape in zip(pieces, shapes, strict=True):
            yield piece.view(shape)
