"""Geometry of nested blocks: how layers of different shape read the same SuperWeights.

Source: Teterwak et al., "Learning to Compose SuperWeights", WACV 2024, section 2.1: a layer is
put together from blocks, a smaller layer is a leading sub-block of a larger one. The paper's
code crops what does not nest and then counts it wrongly; here a block is what a shape adds to
the union of all smaller ones, so every scalar of every block is read, and every layer is
covered once, for any set of shapes.

Shapes are seen as (out, in) boxes with corner (0, 0); the kernel rides along. Equal blocks, as
small as one wants, lie in a grid instead (recipe `stack`), cropped at the lower and right border.
"""

import dataclasses
import functools
import itertools
import math

Shape = tuple[int, ...]

MOST_PADDING = 64
"""How many times the layers' own scalars their equal blocks may have together, with borders."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rect:
    """Rows [top, bottom), columns [left, right) of a weight, stored from `offset` of a block."""

    top: int
    bottom: int
    left: int
    right: int
    offset: int

    @property
    def area(self) -> int:
        """Number of (out, in) pairs."""
        return (self.bottom - self.top) * (self.right - self.left)


def num_blocks(shape: Shape, block: Shape) -> tuple[int, int]:
    """Return how many equal blocks a weight has along its outputs and its inputs."""
    return -(-shape[0] // block[0]), -(-shape[1] // block[1])


def box(shape: Shape) -> tuple[int, int]:
    """Return (out, in) of a weight's shape."""
    return shape[0], shape[1]


def ordered(shapes: set[Shape]) -> tuple[Shape, ...]:
    """Return distinct shapes, the smallest first; ties by the shape itself."""
    return tuple(sorted(shapes, key=lambda shape: (math.prod(shape), shape)))


@functools.lru_cache(maxsize=4096)
def added(smaller: tuple[Shape, ...], shape: Shape) -> tuple[Rect, ...]:
    """Return the rectangles of `shape` that no smaller shape covers.

    Args:
        smaller: all shapes ordered before it.
        shape: (out, in, *kernel).
    """
    height, width = box(shape)
    edges = sorted({0, height, *(min(height, box(other)[0]) for other in smaller)})
    rects: list[Rect] = []
    offset = 0
    for top, bottom in itertools.pairwise(edges):
        covered = max((box(s)[1] for s in smaller if box(s)[0] >= bottom), default=0)
        if covered >= width:
            continue
        if rects and rects[-1].left == covered and rects[-1].bottom == top:
            joined = rects.pop()
            top, offset = joined.top, joined.offset
        rect = Rect(top=top, bottom=bottom, left=covered, right=width, offset=offset)
        rects.append(rect)
        offset += rect.area
    return tuple(rects)


@functools.lru_cache(maxsize=1024)
def sizes(shapes: tuple[Shape, ...]) -> tuple[int, ...]:
    """Return the scalars of each block, for ordered distinct shapes of one kernel."""
    return tuple(
        sum(rect.area for rect in rects) * math.prod(shape[2:])
        for shape, rects in zip(shapes, _all_added(shapes), strict=True)
    )


def overlap(rect: Rect, shape: Shape) -> tuple[int, int]:
    """Return how many rows and columns of a rectangle lie inside a layer's box."""
    height, width = box(shape)
    rows = min(rect.bottom, height) - rect.top
    columns = min(rect.right, width) - rect.left
    return (rows, columns) if rows > 0 and columns > 0 else (0, 0)


@functools.lru_cache(maxsize=65536)
def reads(shapes: tuple[Shape, ...], shape: Shape) -> tuple[int, ...]:
    """Return the indices of the blocks that a layer of this shape reads."""
    height, width = box(shape)
    return tuple(
        index
        for index, rects in enumerate(_all_added(shapes)[: shapes.index(shape) + 1])
        if any(rect.top < height and rect.left < width for rect in rects)
    )


@functools.lru_cache(maxsize=1024)
def _all_added(shapes: tuple[Shape, ...]) -> tuple[tuple[Rect, ...], ...]:
    """Return the rectangles of every block."""
    return tuple(added(shapes[:index], shape) for index, shape in enumerate(shapes))
