"""The few shapes that the pictures are made of, as SVG text."""

from collections.abc import Iterable
from html import escape

WIDTH = 960
MARGIN = 40
INNER = WIDTH - 2 * MARGIN
INK, SOFT, AXIS, LINE, GREY = "#1f2933", "#616e7c", "#9aa5b1", "#e4e7eb", "#b8c0cc"
# Tableau's ten without its grey, then lighter ones: neighbours differ for colour-blind eyes too.
COLOURS = (
    "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#76b7b2", "#edc948", "#9c755f",
    "#ff9da7", "#a0cbe8", "#8cd17d", "#b6992d", "#d37295", "#d4a6c8", "#ffbe7d", "#2b6e6b",
)  # fmt: skip


def document(height: float, title: str, parts: Iterable[str]) -> str:
    """Return a whole document on a white card."""
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" '
        f'width="{WIDTH}" height="{height:g}" role="img" '
        "font-family=\"system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif\">\n"
        f"<title>{escape(title)}</title>\n"
        f'<rect width="{WIDTH}" height="{height:g}" rx="10" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def text(
    x: float,
    y: float,
    content: str,
    *,
    size: float = 13,
    fill: str = INK,
    weight: int = 400,
    anchor: str = "start",
) -> str:
    """Return a line of text; (x, y) is where its baseline starts, ends or has its middle."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" font-weight="{weight}" '
        f'fill="{fill}" text-anchor="{anchor}">{escape(content)}</text>'
    )


def rect(
    x: float,
    y: float,
    width: float,
    height: float,
    fill: str,
    *,
    title: str = "",
    radius: float = 0,
) -> str:
    """Return a filled rectangle; its title is shown under the pointer."""
    inside = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{max(0.0, width):.2f}" height="{height:.2f}" '
        f'rx="{radius:g}" fill="{fill}">{inside}</rect>'
    )


def rule(x1: float, y1: float, x2: float, y2: float, colour: str = LINE, dash: str = "") -> str:
    """Return a thin straight line."""
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{colour}"{dashes}/>'
    )
