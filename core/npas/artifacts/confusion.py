"""Which classes were taken for which, as a picture."""

from collections.abc import Mapping, Sequence
from typing import Any

from npas.artifacts import Account, Artifact
from npas.artifacts._svg import INK, MARGIN, SOFT, document, rect, text

_NAMES, _SIDE, _LARGEST = 170, 700, 56
"""Pixels: of the names, of the whole matrix at most, of one cell at most."""

_NUMBERED, _NAMED = 24, 60
"""Classes up to which cells have their numbers, and rows and columns their names."""

_TOP = 92
_RIGHT, _WRONG = (78, 121, 167), (225, 87, 89)


def confusion_svg(
    classes: Sequence[str], counts: Sequence[Sequence[int]], title: str, *, macro_f1: float
) -> str:
    """Draw the matrix: a row for the images of each class, coloured by what was said of them.

    Args:
        classes: names, by label.
        counts: images of class (row) that were said to be of class (column).
        title: plain text.
        macro_f1: of the matrix.

    Returns:
        a whole SVG document, 960 pixels wide.
    """
    size = min(_LARGEST, _SIDE / len(classes))
    left = MARGIN + (_NAMES if len(classes) <= _NAMED else 0)
    top = _TOP + (14 if len(classes) <= _NAMED else 0)
    parts = [
        text(MARGIN, 40, title, size=18, weight=700),
        text(
            MARGIN,
            62,
            f"rows: the right class; columns: what was said; macro F1 {100 * macro_f1:.2f} %",
            fill=SOFT,
        ),
    ]
    for row, counted in enumerate(counts):
        parts += _row(row, counted, classes, left=left, top=top + row * size, size=size)
    if len(classes) <= _NAMED:
        parts += [
            text(left + (column + 0.5) * size, top - 6, str(column), size=9, anchor="middle")
            for column in range(len(classes))
        ]
    return document(top + len(classes) * size + MARGIN, title, parts)


def _row(
    row: int,
    counted: Sequence[int],
    classes: Sequence[str],
    *,
    left: float,
    top: float,
    size: float,
) -> list[str]:
    parts = []
    if len(classes) <= _NAMED:
        name = classes[row] if classes[row] == str(row) else f"{classes[row]} ({row})"
        short = name if len(name) <= 24 else f"{name[:21]}..."
        middle = top + size / 2 + 4
        parts.append(text(left - 8, middle, short, size=min(12, size), anchor="end"))
    whole = max(1, sum(counted))
    for column, count in enumerate(counted):
        told = f"{classes[row]} said to be {classes[column]}: {count} of {sum(counted)}"
        colour = _shade(count / whole, _RIGHT if row == column else _WRONG)
        x = left + column * size
        parts.append(rect(x, top, size - 1, size - 1, colour, title=told))
        if count and len(classes) <= _NUMBERED:
            ink = "#ffffff" if count > whole / 2 else INK
            place = (x + size / 2, top + size / 2 + 4)
            parts.append(
                text(*place, str(count), size=min(12, size / 2), fill=ink, anchor="middle")
            )
    return parts


def _shade(share: float, colour: tuple[int, int, int]) -> str:
    """Return a colour as pale as the share is small; nothing at all is nearly white."""
    strength = 0.15 + 0.85 * share if share else 0.0
    mixed = (round(245 + (full - 245) * strength) for full in colour)
    return "#" + "".join(f"{value:02x}" for value in mixed)


def _drawn(account: Account) -> str | None:
    said: Mapping[str, Any] | None = account.report.get("confusion")
    if not said or said["counts"] is None:
        return None
    title = f"Classes of {account.report['dataset']} as {account.report['architecture']} sees them"
    return confusion_svg(
        said["classes"], said["counts"], title, macro_f1=account.report["macro_f1"]
    )


ARTIFACT = Artifact(file="confusion.svg", text=_drawn)
