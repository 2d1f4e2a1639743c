"""Pictures by matplotlib: one look, and the same bytes for the same content.

A figure is made without pyplot, so that nothing global is kept, and text stays text.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from npas import registry
from npas.artifacts._svg import AXIS, COLOURS, INK, LINE, SOFT

DPI = 100
"""Pixels an inch: a figure 9.6 inches wide is 960 pixels wide, as the other pictures are."""

_LOOK = {
    "svg.fonttype": "none",
    "svg.hashsalt": "npas",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "system-ui", "sans-serif"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": AXIS,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "ytick.left": False,
    "legend.frameon": False,
    "legend.labelcolor": SOFT,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}


def is_possible() -> bool:
    """Return whether matplotlib is installed: without it there are no such pictures."""
    return registry.is_installed("matplotlib")


@contextmanager
def look() -> Iterator[Any]:
    """Draw in the look of npas; yields the module of matplotlib.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    matplotlib = registry.imported("matplotlib", extra="pictures")
    cycle = registry.imported("cycler", extra="pictures").cycler(color=COLOURS)
    with matplotlib.rc_context({**_LOOK, "axes.prop_cycle": cycle}):
        yield matplotlib


def figure(width: float, height: float, title: str) -> Any:
    """Return an empty figure, of so many pixels, with its title; call it within `look`."""
    made = registry.imported("matplotlib.figure", extra="pictures").Figure(
        figsize=(width / DPI, height / DPI), dpi=DPI, layout="constrained"
    )
    # A dollar sign in a name is no formula.
    made.suptitle(title, x=0.04, ha="left", fontsize=14, fontweight="bold", parse_math=False)
    return made


def svg(figure: Any) -> str:
    """Return a figure as an SVG document; call it within `look`."""
    held = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(held, format="svg", metadata=nothing)
    return held.getvalue()
