"""Modules as people write them that no test of the library uses; tried as they were written."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.own_modules import Example


class LowRank(nn.Module):
    """A frozen layer, and a correction of low rank that learns."""

    def __init__(self, width: int, rank: int = 4) -> None:
        super().__init__()
        self.base = nn.Linear(width, width).requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, width) / math.sqrt(width))
        self.up = nn.Parameter(torch.randn(width, rank) / math.sqrt(rank))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width)."""
        found: Tensor = self.base(x) + x @ self.down.T @ self.up.T
        return found


class Adapted(nn.Module):
    """A perceptron of them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(LowRank(48) for _ in range(4))
        self.head = nn.Sequential(nn.Linear(48, 96), nn.SiLU(), nn.Linear(96, 7))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 7) of rows (B, 48)."""
        for layer in self.layers:
            x = x + functional.silu(layer(x))
        found: Tensor = self.head(x)
        return found


class Experts(nn.Module):
    """Experts in lists in a list, weighed by a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(16, 32)
        self.gates = nn.ModuleList(nn.Linear(32, 4, bias=False) for _ in range(2))
        self.experts = nn.ModuleList(
            nn.ModuleList(
                nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)) for _ in range(4)
            )
            for _ in range(2)
        )
        self.leave = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 3) of rows (B, 16)."""
        x = self.enter(x)
        for gate, experts in zip(self.gates, self.experts, strict=True):
            share = gate(x).softmax(-1)
            told = torch.stack([expert(x) for expert in experts.children()], -1)
            x = x + (told * share[:, None]).sum(-1)
        found: Tensor = self.leave(x)
        return found


class Translator(nn.Module):
    """Reads two sequences; one embedding serves both, and the output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.source = nn.Embedding(50, 32, padding_idx=0)
        self.target = nn.Embedding(50, 32, padding_idx=0)
        self.out = nn.Linear(32, 50, bias=False)
        self.target.weight = self.out.weight = self.source.weight
        self.body = nn.Transformer(32, 4, 2, 2, 64, dropout=0.0, batch_first=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Return logits (B, T, 50) of tokens (B, S) and (B, T)."""
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        x = self.body(self.source(source), self.target(target), tgt_mask=mask)
        found: Tensor = self.out(x)
        return found


class TiedAutoencoder(nn.Module):
    """Decodes with the transposed weights that it encodes with."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(64, 48), nn.Linear(48, 24), nn.Linear(24, 12)])
        self.shifts = nn.ParameterList(nn.Parameter(torch.zeros(n)) for n in (24, 48, 64))

    def forward(self, x: Tensor) -> Tensor:
        """Return rows (B, 64) of rows (B, 64)."""
        for layer in self.layers:
            x = torch.tanh(layer(x))
        for layer, shift in zip(reversed(self.layers), self.shifts, strict=True):
            assert isinstance(layer, nn.Linear)
            x = torch.tanh(functional.linear(x, layer.weight.T, shift))
        return x


class Modulated(nn.Module):
    """Scales its channels by what a second input says."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 24, 3, padding=1)
        self.blocks = nn.ModuleDict(
            {
                f"block{number}": nn.ModuleDict(
                    {"conv": nn.Conv2d(24, 24, 3, padding=1), "film": nn.Linear(6, 48)}
                )
                for number in range(3)
            }
        )
        self.head = nn.Conv2d(24, 1, 1)

    def forward(self, image: Tensor, *, condition: Tensor, strength: float = 1.0) -> Tensor:
        """Return maps (B, 1, H, W)."""
        x = self.stem(image)
        for block in self.blocks.values():
            scale, shift = block.get_submodule("film")(condition)[..., None, None].chunk(2, 1)
            y = block.get_submodule("conv")(x) * (1 + strength * scale) + shift
            x = x + functional.leaky_relu(y, 0.1)
        found: Tensor = self.head(x)
        return found


class GraphLayer(nn.Module):
    """A layer for graphs: neighbours' rows, times a matrix that no module of torch holds."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) / math.sqrt(inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, rows: Tensor, edges: Tensor) -> Tensor:
        """Return (B, N, outputs) of rows (B, N, inputs) and edges (B, N, N)."""
        return torch.bmm(edges, rows @ self.weight) + self.bias


class Graphs(nn.Module):
    """A network of such layers; norms over the nodes."""

    def __init__(self) -> None:
        super().__init__()
        widths = (10, 32, 32, 32)
        self.layers = nn.ModuleList(map(GraphLayer, widths, widths[1:]))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in widths[1:])
        self.out = nn.Linear(32, 4)

    def forward(self, rows: Tensor, edges: Tensor) -> Tensor:
        """Return logits (B, 4) of graphs."""
        edges = edges / edges.sum(-1, keepdim=True).clamp(min=1)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            rows = torch.relu(norm(layer(rows, edges).mT).mT)
        found: Tensor = self.out(rows.amax(1))
        return found


class Causal(nn.Conv1d):
    """A convolution that sees the past alone."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, T)."""
        return super().forward(
            functional.pad(x, (self.dilation[0] * (self.kernel_size[0] - 1), 0))
        )


class Waves(nn.Module):
    """Dilated convolutions with gates, in lists in lists in a list; answers are added."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Causal(1, 16, 2)
        self.stacks = nn.ModuleList(
            nn.ModuleList(
                nn.ModuleList([Causal(16, 32, 2, dilation=2**power), nn.Conv1d(16, 16, 1)])
                for power in range(3)
            )
            for _ in range(2)
        )
        self.head = nn.Sequential(nn.ReLU(), nn.Conv1d(16, 16, 1), nn.ReLU(), nn.Conv1d(16, 8, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 8, T) of sequences (B, 1, T)."""
        x = self.stem(x)
        answers = []
        for stack in self.stacks:
            for wide, narrow in map(nn.Module.children, stack.children()):
                signal, gate = wide(x).chunk(2, 1)
                y = narrow(torch.tanh(signal) * torch.sigmoid(gate))
                answers.append(y)
                x = x + y
        found: Tensor = self.head(sum(answers))
        return found


class Recommender(nn.Module):
    """Reads a dictionary: numbers, who, what, and bags of words of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleDict({"who": nn.Embedding(60, 12), "what": nn.Embedding(80, 12)})
        self.words = nn.EmbeddingBag(100, 12, mode="mean")
        self.deep = nn.Sequential(
            *(nn.Linear(41, 64), nn.LayerNorm(64), nn.ReLU(), nn.Dropout(0.1)),
            *(nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 1)),
        )
        self.wide = nn.Linear(5, 1)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a score (B,) by name."""
        found = [self.tables[name](batch[name]) for name in ("who", "what")]
        found.append(self.words(batch["words"], batch["offsets"]))
        deep = self.deep(torch.cat([*found, batch["numbers"]], 1))
        return {"score": (deep + self.wide(batch["numbers"])).squeeze(1)}


class Stepwise(nn.Module):
    """Recurrent cells that are called in a loop of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.GRUCell(9, 24), nn.GRUCell(24, 24), nn.LSTMCell(24, 24)])
        self.start = nn.Parameter(torch.zeros(3, 24))
        self.out = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 5) of sequences (B, T, 9)."""
        first, second, third = (each.expand(len(x), -1) for each in self.start)
        memory = torch.zeros_like(third)
        for step in x.unbind(1):
            first = self.cells[0](step, first)
            second = self.cells[1](first, second)
            third, memory = self.cells[2](second, (third, memory))
        found: Tensor = self.out(third)
        return found


class RootNorm(nn.Module):
    """A norm by the root of the mean square."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., width)."""
        return self.scale * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


class Rotary(nn.Module):
    """A block of a language model: turned queries and keys, fewer of the latter, a gated part."""

    turns: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([RootNorm(32), RootNorm(32)])
        self.q, self.kv = nn.Linear(32, 32, bias=False), nn.Linear(32, 32, bias=False)
        self.o = nn.Linear(32, 32, bias=False)
        self.up, self.gate = nn.Linear(32, 80, bias=False), nn.Linear(32, 80, bias=False)
        self.down = nn.Linear(80, 32, bias=False)
        angles = torch.arange(16)[:, None] / 100 ** (torch.arange(4) / 4)
        self.register_buffer("turns", torch.polar(torch.ones(16, 4), angles), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, 32)."""
        y = self.norms[0](x)
        q = self._turned(self.q(y).unflatten(-1, (4, 8)))
        keys, values = self.kv(y).unflatten(-1, (4, 8)).chunk(2, 2)
        k, v = (each.repeat_interleave(2, 2) for each in (self._turned(keys), values))
        q, k, v = (each.transpose(1, 2) for each in (q, k, v))
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(seen.transpose(1, 2).flatten(2))
        y = self.norms[1](x)
        found: Tensor = x + self.down(functional.silu(self.gate(y)) * self.up(y))
        return found

    def _turned(self, x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], 4, 2))
        return torch.view_as_real(pairs * self.turns[: x.shape[1], None]).flatten(-2)


class Decoder(nn.Module):
    """A language model of such blocks, whose output layer is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(64, 32)
        self.blocks = nn.Sequential(*(Rotary() for _ in range(3)))
        self.norm = RootNorm(32)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (B, T, 64) of tokens (B, T)."""
        found: Tensor = self.norm(self.blocks(self.tokens(tokens))) @ self.tokens.weight.T
        return found


class Standardized(nn.Conv2d):
    """A convolution whose weight is standardised in each call."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W)."""
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        weight = (self.weight - mean) / (self.weight.std((1, 2, 3), keepdim=True) + 1e-5)
        found: Tensor = self._conv_forward(x, weight, self.bias)
        return found


class Answers(NamedTuple):
    """What `Detector` finds."""

    classes: Tensor
    boxes: Tensor


class Detector(nn.Module):
    """Standardised convolutions, and two heads that are called at three scales each."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(
                Standardized(inputs, 24, 3, stride=2, padding=1), nn.GroupNorm(4, 24), nn.ReLU()
            )
            for inputs in (3, 24, 24)
        )
        self.classes = nn.Conv2d(24, 6, 3, padding=1)
        self.boxes = nn.Conv2d(24, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Answers:
        """Return classes (B, N, 6) and boxes (B, N, 4) of images (B, 3, H, W)."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        heads = (self.classes, self.boxes)
        return Answers(*(torch.cat([h(m).flatten(2).mT for m in maps], 1) for h in heads))


class Splines(nn.Module):
    """Sums of bumps for each edge, in a list of parameters with three axes."""

    places: Tensor

    def __init__(self) -> None:
        super().__init__()
        sizes = (8, 20, 20, 3)
        self.bumps = nn.ParameterList(
            torch.randn(after, before, 6) / math.sqrt(6 * before)
            for before, after in pairwise(sizes)
        )
        self.register_buffer("places", torch.linspace(-2, 2, 6))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 3) of rows (B, 8)."""
        for bumps in self.bumps:
            near = torch.exp(-((x[..., None] - self.places) ** 2))
            x = torch.einsum("bik,oik->bo", near, bumps)
        return x


def _bags() -> Example:
    batch = {"who": torch.randint(60, (4,)), "what": torch.randint(80, (4,))}
    batch |= {"words": torch.randint(100, (11,)), "offsets": torch.tensor([0, 3, 4, 9])}
    return (batch | {"numbers": torch.randn(4, 5)},)


FURTHER: dict[str, tuple[Callable[[], nn.Module], Callable[[], Example]]] = {
    "low rank beside frozen": (Adapted, lambda: (torch.randn(4, 48),)),
    "experts in nested lists": (Experts, lambda: (torch.randn(4, 16),)),
    "one embedding, three uses": (
        Translator,
        lambda: tuple(torch.randint(1, 50, (4, length)) for length in (7, 5)),
    ),
    "transposed, tied": (TiedAutoencoder, lambda: (torch.randn(4, 64),)),
    "modulated by a second input": (
        Modulated,
        lambda: {"image": torch.randn(4, 2, 10, 10), "condition": torch.randn(4, 6)},
    ),
    "graphs": (Graphs, lambda: (torch.randn(4, 9, 10), torch.rand(4, 9, 9).round())),
    "dilated, lists in lists": (Waves, lambda: (torch.randn(4, 1, 20),)),
    "reads a dictionary": (Recommender, _bags),
    "cells in a loop": (Stepwise, lambda: (torch.randn(4, 6, 9),)),
    "rotary, tied": (Decoder, lambda: (torch.randint(64, (4, 12)),)),
    "standardised, two heads": (Detector, lambda: (torch.randn(4, 3, 24, 24),)),
    "splines in a list": (Splines, lambda: (torch.randn(4, 8),)),
}
"""By name: as `own_modules.MODULES`."""
