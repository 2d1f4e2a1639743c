"""Modules as people write them, which the library has not seen: each with an example of its input.

The tests plan, share, train and save each of them, and so does whoever counts how many can be.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

Example = tuple[Any, ...] | dict[str, Any]
"""What forward takes, by position or by name."""


class Nested(nn.Module):
    """A residual network with blocks in lists in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, padding=1, bias=False)
        self.stages = nn.ModuleList(
            nn.ModuleList(
                nn.Sequential(
                    nn.Conv2d(24, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU()
                )
                for _ in range(3)
            )
            for _ in range(2)
        )
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 10) of images (B, 3, H, W)."""
        x = self.stem(x)
        for number, stage in enumerate(self.stages):
            x = functional.avg_pool2d(x, 2) if number else x
            for block in stage:  # type: ignore[attr-defined]  # a list, which typeshed hides
                x = x + block(x)
        found: Tensor = self.head(x.mean((2, 3)))
        return found


class Gated(nn.Module):
    """A layer of one's own: a weight that is used by a function, and a gate for each output."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(outputs, inputs) / math.sqrt(inputs))
        self.gate = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs)."""
        return functional.linear(x, self.w) * torch.sigmoid(self.gate)


class CustomLayers(nn.Module):
    """A perceptron, half of whose layers are its author's."""

    def __init__(self) -> None:
        super().__init__()
        self.gated = Gated(20, 48)
        self.body = nn.Sequential(*(nn.Linear(48, 48) for _ in range(5)))
        self.temperature = nn.Parameter(torch.ones(()))
        self.head = nn.Linear(48, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 5) of rows (B, 20)."""
        x = self.gated(x)
        for layer in self.body:
            x = torch.tanh(layer(x))
        found: Tensor = self.head(x) * self.temperature
        return found


class TiedLanguageModel(nn.Module):
    """A transformer whose output layer is its embedding."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 32)
        self.places = nn.Parameter(torch.randn(12, 32) * 0.02)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 3)
        self.head = nn.Linear(32, 40, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("mask", torch.triu(torch.ones(12, 12), 1).bool(), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (B, T, 40) of tokens (B, T)."""
        length = tokens.shape[1]
        x = self.embedding(tokens) + self.places[:length]
        found: Tensor = self.head(self.body(x, mask=self.mask[:length, :length]))
        return found


class TwoInputs(nn.Module):
    """Reads an image and a row of numbers, the row by name."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Sequential(
            *(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU()),
            *(nn.Conv2d(16, 16, 3), nn.ReLU()),
        )
        self.rows = nn.Sequential(nn.Linear(7, 16), nn.ReLU(), nn.Linear(16, 16))
        self.fuse = nn.Bilinear(16, 16, 8)
        self.out = nn.Linear(8, 3)

    def forward(self, image: Tensor, *, rows: Tensor) -> Tensor:
        """Return logits (B, 3)."""
        seen = self.look(image).mean((2, 3))
        found: Tensor = self.out(self.fuse(seen, self.rows(rows)))
        return found


class Towers(nn.Module):
    """Towers in a dictionary, and answers in one."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(10, 32), nn.GELU(), nn.Linear(32, 32))
        self.towers = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(32, 32), nn.GELU(), nn.Linear(32, outputs))
                for name, outputs in (("colour", 3), ("size", 4))
            }
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return logits of each question."""
        seen = self.trunk(x)
        return {name: tower(seen) for name, tower in self.towers.items()}


class SharedBlock(nn.Module):
    """One submodule under two names, and another one that runs three times."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 24)
        self.encoder = nn.Sequential(nn.Linear(24, 24), nn.LayerNorm(24), nn.ReLU())
        self.decoder = self.encoder
        self.again = nn.Linear(24, 24)
        self.more = nn.ModuleList(nn.Linear(24, 24) for _ in range(3))
        self.head = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 4) of rows (B, 12)."""
        x = self.decoder(self.encoder(self.first(x)))
        for _ in range(3):
            x = torch.relu(self.again(x))
        for layer in self.more:
            x = torch.relu(layer(x))
        found: Tensor = self.head(x)
        return found


class Tagger(nn.Module):
    """A recurrent network in both directions that returns its state, too."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 16)
        self.lstm = nn.LSTM(16, 24, num_layers=2, bidirectional=True, batch_first=True)
        self.out = nn.Linear(48, 6)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, T, 6), and the last state."""
        seen, (state, _) = self.lstm(self.embedding(tokens))
        return self.out(seen), state


class Parametrized(nn.Module):
    """Weights that are computed of others: a norm apart, a spectral norm, an orthogonal matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.normed = parametrizations.weight_norm(nn.Conv1d(4, 16, 3, padding=1))
        self.body = nn.ModuleList(nn.Conv1d(16, 16, 3, padding=1) for _ in range(4))
        self.bounded = parametrizations.spectral_norm(nn.Linear(16, 16))
        self.turn = parametrizations.orthogonal(nn.Linear(16, 16, bias=False))
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 3) of sequences (B, 4, T)."""
        x = self.normed(x)
        for layer in self.body:
            x = x + torch.relu(layer(x))
        found: Tensor = self.head(self.turn(self.bounded(x.mean(2))))
        return found


class FrozenBackbone(nn.Module):
    """A backbone that stays as it is, its statistics too, below a head that learns."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            *(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3)),
        ).requires_grad_(False)
        self.head = nn.Sequential(
            *(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)),
            *(nn.ReLU(), nn.Linear(64, 10)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 10) of images (B, 3, H, W)."""
        found: Tensor = self.head(self.backbone(x).mean((2, 3)))
        return found


class Attention(nn.Module):
    """Attention of one's own beside torch's."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 32))
        self.patches = nn.Conv2d(3, 32, 4, stride=4)
        self.qkv = nn.ModuleList(nn.Linear(32, 96, bias=False) for _ in range(2))
        self.proj = nn.ModuleList(nn.Linear(32, 32) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(2))
        self.pool = nn.MultiheadAttention(32, 4, batch_first=True)
        self.head = nn.Linear(32, 10)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 10) of images (B, 3, H, W)."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        for norm, qkv, proj in zip(self.norms, self.qkv, self.proj, strict=True):
            q, k, v = (
                each.unflatten(-1, (4, 8)).transpose(1, 2) for each in qkv(norm(x)).chunk(3, -1)
            )
            seen = functional.scaled_dot_product_attention(q, k, v)
            x = x + proj(seen.transpose(1, 2).flatten(2))
        x, _ = self.pool(x[:, :1], x, x)
        found: Tensor = self.head(x[:, 0]) / self.scale
        return found


class UNet(nn.Module):
    """Down and up again, with edges across."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)])
        self.middle = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.GroupNorm(4, 16))
        self.up = nn.ModuleList(
            [nn.ConvTranspose2d(16, 16, 2, 2), nn.ConvTranspose2d(32, 8, 2, 2)]
        )
        self.out = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 2, H, W) of (B, 1, H, W)."""
        kept = []
        for layer in self.down:
            x = torch.relu(layer(x))
            kept.append(x)
            x = functional.max_pool2d(x, 2)
        x = torch.relu(self.middle(x))
        for layer in self.up:
            x = torch.cat([torch.relu(layer(x)), kept.pop()], 1)
        found: Tensor = self.out(x)
        return found


class Lazy(nn.Module):
    """Layers that make their weights when they first run."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.LazyConv2d(12, 3), nn.ReLU(), nn.LazyConv2d(12, 3), nn.ReLU()),
            *(nn.Conv2d(12, 12, 3), nn.Flatten(), nn.LazyLinear(5)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 5) of images (B, 3, H, W)."""
        found: Tensor = self.body(x)
        return found


def _images(channels: int, side: int) -> Callable[[], Example]:
    return lambda: (torch.randn(4, channels, side, side),)


def _rows(width: int) -> Callable[[], Example]:
    return lambda: (torch.randn(4, width),)


MODULES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Example]]] = {
    "nested": (Nested, _images(3, 8)),
    "custom-layers": (CustomLayers, _rows(20)),
    "tied": (TiedLanguageModel, lambda: (torch.randint(40, (4, 9)),)),
    "two-inputs": (
        TwoInputs,
        lambda: {"image": torch.randn(4, 1, 9, 9), "rows": torch.randn(4, 7)},
    ),
    "towers": (Towers, _rows(10)),
    "shared-block": (SharedBlock, _rows(12)),
    "lstm": (Tagger, lambda: (torch.randint(30, (4, 7)),)),
    "parametrized": (Parametrized, lambda: (torch.randn(4, 4, 10),)),
    "frozen": (FrozenBackbone, _images(3, 8)),
    "attention": (Attention, _images(3, 12)),
    "u-net": (UNet, _images(1, 8)),
    "lazy": (Lazy, _images(3, 10)),
}
"""By name: what makes a module, and what makes an example of its input."""


def scalar(outputs: object) -> Tensor:
    """Return a loss of whatever a module returns: the mean square of all that can be trained."""
    if isinstance(outputs, Tensor):
        return outputs.square().mean()
    parts = outputs.values() if isinstance(outputs, dict) else outputs
    assert isinstance(parts, tuple | type({}.values()))
    return torch.stack([scalar(each) for each in parts]).sum()
