"""What JPEG does to one plane of an image: cosines of blocks of 8 x 8, rounded coarsely.

Source: ITU-T T.81, annex A.3.3 (cosines), annex K.1 (tables); their scale by quality is that of
the Independent JPEG Group's library, which Pillow uses.
"""

import math

import torch
from torch import Tensor

BLOCK = 8

LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CORNER = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))
CHROMINANCE = tuple((*row, *(99,) * 4) for row in _CORNER) + ((99,) * 8,) * 4


def steps(table: tuple[tuple[int, ...], ...], quality: int) -> Tensor:
    """Return what the cosines of a block are rounded to multiples of, `(8, 8)`, 1 to 255.

    Args:
        table: for quality 50.
        quality: 1 to 100.
    """
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(table) * percent + 50) // 100).clamp(1, 255).float()


def cosines() -> Tensor:
    """Return the orthonormal transform, `(8, 8)`, a row per frequency."""
    frequency = torch.arange(BLOCK, dtype=torch.float64)[:, None]
    waves = torch.cos((2 * torch.arange(BLOCK) + 1) * frequency * math.pi / (2 * BLOCK)) / 2
    waves[0] /= math.sqrt(2)
    return waves.float()


def _turned(blocks: Tensor, matrix: Tensor) -> Tensor:
    """Return `matrix @ blocks`, summed in one order whatever the number of blocks."""
    total = matrix[:, :1] * blocks[..., :1, :]
    for each in range(1, BLOCK):
        total = total + matrix[:, each : each + 1] * blocks[..., each : each + 1, :]
    return total


def quantised(plane: Tensor, rounding: Tensor) -> Tensor:
    """Return a plane after its blocks were rounded, as bytes.

    Args:
        plane: `(N, H, W)`, 0 to 255, H and W multiples of 8.
        rounding: see `steps`.
    """
    waves, (count, height, width) = cosines(), plane.shape
    split = (plane - 128).reshape(count, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    blocks = split.transpose(2, 3)
    found = _turned(_turned(blocks, waves).mT, waves).mT
    kept = (found / rounding).round() * rounding
    back = _turned(_turned(kept, waves.T).mT, waves.T).mT
    return (back.transpose(2, 3).reshape(plane.shape) + 128).round().clamp(0, 255)
