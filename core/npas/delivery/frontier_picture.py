"""The picture of a frontier: accuracy over parameters, a colour for each way to share."""

from collections.abc import Mapping, Sequence
from typing import Any

from npas.artifacts import _plot
from npas.artifacts._svg import COLOURS, SOFT, WIDTH

Mark = Mapping[str, Any]
"""A point: `series`, `parameters`, `mean`, `low` and `high` or None, `is_baseline`,
`is_on_frontier`."""


def frontier_svg(title: str, marks: Sequence[Mark]) -> str:
    """Draw a frontier; points stand in the order of the sweep.

    Args:
        title: of the picture.
        marks: the points that have an accuracy.

    Returns:
        a whole SVG document, 960 pixels wide; the same content gives the same bytes.
    """
    with _plot.look():
        if not marks:
            empty = _plot.figure(WIDTH, 110, title)
            empty.text(0.04, 0.3, "no network was trained to its end yet", color=SOFT)
            return _plot.svg(empty)
        figure = _plot.figure(WIDTH, 480, title)
        axes = figure.subplots()
        steps = sorted((m["parameters"], m["mean"]) for m in marks if m["is_on_frontier"])
        axes.step(*zip(*steps, strict=True), where="post", color=SOFT, lw=1, label="frontier")
        names = dict.fromkeys(mark["series"] for mark in marks)
        for name, colour in zip(names, COLOURS * (1 + len(names) // len(COLOURS)), strict=False):
            _draw(axes, name, colour, [mark for mark in marks if mark["series"] == name])
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g} %")
        axes.set_xlabel("trainable parameters (logarithmic)")
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.12), ncols=3, fontsize=8)
        return _plot.svg(figure)


def _draw(axes: Any, name: str, colour: str, marks: Sequence[Mark]) -> None:
    """Draw the points of one series, with the intervals that they have."""
    is_baseline = marks[0]["is_baseline"]
    halves = [0.0 if m["high"] is None else m["high"] - m["mean"] for m in marks]
    axes.errorbar(
        [mark["parameters"] for mark in marks],
        [mark["mean"] for mark in marks],
        halves,
        label=name.replace("$", r"\$"),
        color=colour,
        marker="D" if is_baseline else "o",
        markersize=5,
        linestyle="none",
        elinewidth=1.2,
    )
    if is_baseline:
        level = max(mark["mean"] for mark in marks)
        axes.axhline(level, color=colour, linestyle=(0, (6, 4)), lw=1)
