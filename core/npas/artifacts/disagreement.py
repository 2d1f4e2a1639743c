"""How often two networks take an image for different classes, as a picture."""

from collections.abc import Sequence

from npas.artifacts import Account, Artifact
from npas.artifacts._svg import INK, MARGIN, SOFT, document, rect, text

_NAMES, _SIDE = 200, 56
"""Pixels: of the names, of a cell."""

_TOP = 110
_PALE, _FULL = (245, 245, 245), (78, 121, 167)


def disagreement_svg(names: Sequence[str], shares: Sequence[Sequence[float]], title: str) -> str:
    """Draw the matrix; cells are as dark as the pair disagrees, the largest share the darkest.

    Args:
        names: of the networks.
        shares: a row and a column for each, 0 to 1.
        title: plain text.

    Returns:
        a whole SVG document, 960 pixels wide.
    """
    largest = max(max(row) for row in shares) or 1.0
    left = MARGIN + _NAMES
    parts = [
        text(MARGIN, 40, title, size=18, weight=700),
        text(MARGIN, 62, "share of the test images that two networks take differently", fill=SOFT),
    ]
    for row, (name, own) in enumerate(zip(names, shares, strict=True)):
        top = _TOP + row * _SIDE
        short = f"{row + 1} {name}" if len(name) <= 24 else f"{row + 1} {name[:21]}..."
        parts.append(text(left - 10, top + 0.5 * _SIDE + 4, short, anchor="end"))
        parts.append(text(left + (row + 0.5) * _SIDE, _TOP - 8, str(row + 1), anchor="middle"))
        for column, share in enumerate(own):
            told = f"{name} and {names[column]}: {100 * share:.2f} % of the images"
            x, part = left + column * _SIDE, share / largest
            parts.append(rect(x, top, _SIDE - 2, _SIDE - 2, _shade(part), title=told))
            ink = "#ffffff" if part > 0.6 else INK
            middle = (x + 0.5 * _SIDE - 1, top + 0.5 * _SIDE + 4)
            parts.append(text(*middle, f"{100 * share:.1f} %", fill=ink, anchor="middle", size=11))
    return document(_TOP + len(names) * _SIDE + MARGIN, title, parts)


def _shade(part: float) -> str:
    mixed = (round(p + (f - p) * part) for p, f in zip(_PALE, _FULL, strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def _drawn(account: Account) -> str | None:
    ensemble = account.report.get("ensemble")
    if not ensemble:
        return None
    names = [network["name"] for network in account.report["networks"]]
    title = f"{account.report['dataset']}: where networks disagree"
    return disagreement_svg(names, ensemble["disagreement"], title)


ARTIFACT = Artifact(file="disagreement.svg", text=_drawn)
