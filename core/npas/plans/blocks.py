"""Geometry of nested blocks: how layers of different shape read the same SuperWeights.

Source: Teterwak et al., "Learning to Compose SuperWeights", WACV 2024, section 2.1: a layer is
put together from blocks, a smaller layer is a leading sub-block of a larger one. The paper's
code crops what does not nest and then counts it wrongly; here a block is what a shape adds to
the union of all smaller ones, so every scalar of every block is read, and every layer is
covered once, for any set of shapes.

Shapes are seen as (out, in) boxes with corner (0, 0); the kernel rides along. Equal blocks, as
small as one wants, lie in a grid instead (recipe `stack`), cropped at the lower and right border.
"""

import bisect
import dataclasses
import functools
import math
from collections.abc import Sequence

Shape = tuple[int, ...]

MOST_PADDING = 64
"""How many times the layers' own scalars their equal blocks may have together, with borders."""

_ENDLESS = 2**63


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


class _Stairs:
    """The union of boxes with one corner at (0, 0): a staircase, and what each box adds to it.

    A step is a row where the union gets narrower. A box adds one rectangle for every step that it
    covers, and covers it for good: n boxes are worked through in n log n.
    """

    def __init__(self) -> None:
        self._bottoms: list[int] = []
        self._narrowness: list[int] = []
        """Minus the width of each step, so that both lists ascend."""

    def clip(self, rects: tuple[Rect, ...]) -> tuple[Rect, ...]:
        """Return what of one box's rectangles lies inside, cut where the union gets narrower."""
        found: list[Rect] = []
        offset = 0
        for rect in rects:
            top, right = rect.top, rect.right
            step = bisect.bisect_right(self._narrowness, -right)  # before it, all of the width
            step = max(step, bisect.bisect_right(self._bottoms, top))
            bottom = self._bottoms[step - 1] if step else 0
            while rect.left < right and top < rect.bottom:
                bottom = min(bottom, rect.bottom)
                if top < bottom:
                    piece = Rect(
                        top=top, bottom=bottom, left=rect.left, right=right, offset=offset
                    )
                    found.append(piece)
                    offset += piece.area
                    top = bottom
                if step == len(self._bottoms):
                    break
                bottom, right = self._bottoms[step], -self._narrowness[step]
                step += 1
        return tuple(found)

    def add(self, shape: Shape) -> tuple[Rect, ...]:
        """Return the rectangles of a box that are new, and take it in."""
        height, width = box(shape)
        first = last = bisect.bisect_right(self._narrowness, -width)
        top = self._bottoms[first - 1] if first else 0
        if top >= height:
            return ()
        rects: list[Rect] = []
        offset = 0
        while top < height:
            is_step = last < len(self._bottoms)
            bottom = min(height, self._bottoms[last]) if is_step else height
            left = -self._narrowness[last] if is_step else 0
            rects.append(Rect(top=top, bottom=bottom, left=left, right=width, offset=offset))
            offset += rects[-1].area
            top = bottom
            if is_step and self._bottoms[last] <= height:
                last += 1
        if first and self._narrowness[first - 1] == -width:
            first -= 1  # the same width goes on
        self._bottoms[first:last] = [height]
        self._narrowness[first:last] = [-width]
        return tuple(rects)


def added(smaller: tuple[Shape, ...], shape: Shape) -> tuple[Rect, ...]:
    """Return the rectangles of `shape` that no smaller shape covers.

    Args:
        smaller: all shapes ordered before it.
        shape: (out, in, *kernel).
    """
    return all_added((*smaller, shape))[-1]


@functools.lru_cache(maxsize=1024)
def sizes(shapes: tuple[Shape, ...]) -> tuple[int, ...]:
    """Return the scalars of each block, for ordered distinct shapes of one kernel."""
    return tuple(
        sum(rect.area for rect in rects) * math.prod(shape[2:])
        for shape, rects in zip(shapes, all_added(shapes), strict=True)
    )


def overlap(rect: Rect, shape: Shape) -> tuple[int, int]:
    """Return how many rows and columns of a rectangle lie inside a layer's box."""
    height, width = box(shape)
    rows = min(rect.bottom, height) - rect.top
    columns = min(rect.right, width) - rect.left
    return (rows, columns) if rows > 0 and columns > 0 else (0, 0)


def reads(shapes: tuple[Shape, ...], shape: Shape) -> tuple[int, ...]:
    """Return the indices of the blocks that a layer of this shape reads.

    Args:
        shapes: ordered and distinct.
        shape: of the layer; one of these, or one that they cover.
    """
    height, width = box(shape)
    # Blocks of later shapes begin where an earlier one of this shape ends.
    last = shapes.index(shape) if shape in shapes else len(shapes) - 1
    return tuple(
        index
        for index, rects in enumerate(all_added(shapes)[: last + 1])
        if any(rect.top < height and rect.left < width for rect in rects)
    )


def covers(shapes: tuple[Shape, ...], shape: Shape) -> bool:
    """Return whether every place of a layer of some shape lies in the union of others.

    Args:
        shapes: ordered and distinct.
        shape: of the layer.
    """
    if shape in shapes:
        return True
    pieces = (overlap(rect, shape) for rects in all_added(shapes) for rect in rects)
    return sum(rows * columns for rows, columns in pieces) == math.prod(box(shape))


def num_readers(shapes: tuple[Shape, ...], layers: Sequence[Shape]) -> list[int]:
    """Return how many layers read each block, without saying which: n log n, not n * n.

    A layer reads a block if its last row and column lie beyond the corner of one of its
    rectangles. From one rectangle of a block to the next the corner moves down and to the left, so
    that each corner has the layers to itself that are too narrow for the one before.

    Args:
        shapes: ordered and distinct.
        layers: their shapes, each one of `shapes`.
    """
    corners = []
    for index, rects in enumerate(all_added(shapes)):
        right = _ENDLESS
        for rect in rects:
            corners.append((rect.top, rect.left, right, index))
            right = rect.left
    boxes = sorted((box(shape) for shape in layers), reverse=True)
    widths = sorted({width for _, width in boxes})
    seen = _Tally(len(widths))
    found, taken = [0] * len(shapes), 0
    for top, left, right, index in sorted(corners, reverse=True):
        while taken < len(boxes) and boxes[taken][0] > top:
            seen.add(bisect.bisect_left(widths, boxes[taken][1]))
            taken += 1
        found[index] += seen.before(bisect.bisect_right(widths, right))
        found[index] -= seen.before(bisect.bisect_right(widths, left))
    return found


class _Tally:
    """Counts by place, and how many are before a place: a Fenwick tree."""

    def __init__(self, places: int) -> None:
        self._sums = [0] * (places + 1)

    def add(self, place: int) -> None:
        """Count one at a place."""
        place += 1
        while place < len(self._sums):
            self._sums[place] += 1
            place += place & -place

    def before(self, place: int) -> int:
        """Return how many were counted at smaller places."""
        total = 0
        while place:
            total += self._sums[place]
            place -= place & -place
        return total


@functools.lru_cache(maxsize=1024)
def all_added(shapes: tuple[Shape, ...]) -> tuple[tuple[Rect, ...], ...]:
    """Return the rectangles of every block."""
    stairs = _Stairs()
    return tuple(stairs.add(shape) for shape in shapes)


@functools.lru_cache(maxsize=1024)
def all_within(
    shapes: tuple[Shape, ...], layers: tuple[Shape, ...]
) -> tuple[tuple[Rect, ...], ...]:
    """Return of every block's rectangles what some layer reads: all, if its own layers are there.

    Args:
        shapes: of the blocks, ordered and distinct.
        layers: shapes of the layers, ordered and distinct, each one of `shapes`.
    """
    if layers == shapes:
        return all_added(shapes)
    union = _Stairs()
    for layer in layers:
        union.add(layer)
    return tuple(union.clip(rects) for rects in all_added(shapes))
