"""How alike the layers of each group are, epoch by epoch, as a picture."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from npas.artifacts import Account, Artifact
from npas.artifacts._svg import INK, INNER, MARGIN, SOFT, WIDTH, document, rect, text
from npas.folding.similarity import History
from npas.plans import Group, Plan

_COLUMNS = 5
_GAP = 22
_SIDE = (INNER - (_COLUMNS - 1) * _GAP) / _COLUMNS
_LEVELS = (
    "#f7fbff", "#e3eef9", "#cfe1f2", "#b5d4e9", "#93c3df",
    "#6daed5", "#4b97c9", "#2f7ebc", "#1864aa", "#0a4a90", "#08306b",
)  # fmt: skip
"""Colours of similarities 0 to 1, each a tenth from the next."""


def similarity_svg(plan: Plan, history: History, title: str) -> str:
    """Draw the similarity matrices of some epochs side by side, a row for each group.

    Args:
        plan: whose groups they are.
        history: at least one epoch of at least one group; epoch 0 is the start.
        title: plain text.

    Returns:
        a whole SVG document, 960 pixels wide.
    """
    groups = [group for group in plan.groups if group.name in history.matrices]
    parts = [
        text(MARGIN, 44, title, size=20, weight=600),
        text(MARGIN, 68, "absolute cosine of the layers' weights, in order", fill=SOFT, size=14),
        *_key(),
    ]
    top: float = 108
    for group in groups:
        matrices = history.matrices[group.name]
        parts.append(text(MARGIN, top, _label(group, len(matrices[0])), weight=600))
        for column, index in enumerate(_chosen(len(matrices))):
            left = MARGIN + column * (_SIDE + _GAP)
            parts += _matrix(matrices[index], left, top + 12)
            epoch = f"epoch {history.epochs[index]}" if history.epochs[index] else "start"
            middle = left + _SIDE / 2
            foot = top + _SIDE + 30
            parts.append(text(middle, foot, epoch, size=12, fill=SOFT, anchor="middle"))
        top += _SIDE + 62
    return document(top - 8, title, parts)


def _chosen(count: int) -> list[int]:
    """Return which epochs are drawn: the first, the last, and some evenly between."""
    steps = range(_COLUMNS)
    return sorted({round(step * (count - 1) / (_COLUMNS - 1)) for step in steps})


def _label(group: Group, drawn: int) -> str:
    shape = "x".join(map(str, group.slots[0].shape))
    templates = sum(bank.templates for bank in group.banks)
    named = f"{group.name}: {len(group.slots)} layers of {shape}, {templates} templates"
    return named if drawn == len(group.slots) else f"{named}, the first {drawn} layers"


def _matrix(matrix: Tensor, left: float, top: float) -> Iterator[str]:
    """Yield one path for each colour: neighbours of a row in one stroke, to keep files small."""
    levels = (matrix * (len(_LEVELS) - 1)).round().int().tolist()
    cell = _SIDE / len(levels)
    yield rect(left, top, _SIDE, _SIDE, _LEVELS[0])
    for level, colour in enumerate(_LEVELS[1:], start=1):
        strokes = "".join(
            f"M{left + start * cell:.2f} {top + row * cell:.2f}"
            f"h{count * cell:.2f}v{cell:.2f}h{-count * cell:.2f}z"
            for row, values in enumerate(levels)
            for start, count in _runs(values, level)
        )
        if strokes:
            yield f'<path d="{strokes}" fill="{colour}" shape-rendering="crispEdges"/>'


def _runs(values: Sequence[int], level: int) -> Iterator[tuple[int, int]]:
    """Yield (first, how many) for neighbours of one level."""
    start = 0
    while start < len(values):
        count = 1
        while start + count < len(values) and values[start + count] == values[start]:
            count += 1
        if values[start] == level:
            yield start, count
        start += count


def _key() -> list[str]:
    """Draw what the colours mean."""
    side = 16
    left = WIDTH - MARGIN - side * len(_LEVELS) - 14
    boxes = [rect(left + side * i, 56, side, 14, colour) for i, colour in enumerate(_LEVELS)]
    return [
        text(left - 6, 68, "0", size=12, fill=SOFT, anchor="end"),
        *boxes,
        text(WIDTH - MARGIN, 68, "1", size=12, fill=INK, anchor="end"),
    ]


def _drawn(account: Account) -> str | None:
    if account.history is None or not account.history.matrices:
        return None
    title = f"Layer similarity of {account.report['architecture']}, {account.plan.method}"
    return similarity_svg(account.plan, account.history, title)


ARTIFACT = Artifact(file="similarity.svg", text=_drawn)
