"""A learning curve as a picture: accuracy above, loss below."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from npas.artifacts import Account, Artifact, _plot
from npas.artifacts._svg import COLOURS, INK, SOFT, WIDTH

Point = tuple[int, float]
_PALE = "#9fb3c8"
_SHADE = "#f3f1ea"
_DOTTED = 40
"""Epochs up to which each has a dot."""


def curve_svg(rows: Sequence[Mapping[str, Any]], title: str, *, metric: str = "accuracy") -> str:
    """Draw a learning curve: accuracy above, loss below, epochs of the search stage shaded.

    Args:
        rows: epochs, the search stage's first, with the fields of `npas.train.Row`; may be none.
        title: one line.
        metric: what the accuracies are of, in words.

    Returns:
        a whole SVG document, 960 pixels wide.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    with _plot.look():
        if not rows:
            return _plot.svg(_without_epochs(title))
        figure = _plot.figure(WIDTH, 588, title)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(5, 2))
        planned = {str(row["stage"]): int(row["epochs"]) for row in rows}
        learned, validated, losses = (
            _points(rows, name) for name in ("train_accuracy", "validation_accuracy", "train_loss")
        )
        _line(upper, validated, f"validation {metric}", COLOURS[0])
        _line(upper, learned, f"training {metric}", _PALE)
        _line(lower, losses, "training loss", COLOURS[1])
        _mark_best(upper, [point for point in validated if point[0] > 0])
        for panel in (upper, lower):
            _shade_search(panel, planned.get("search", 0))
            panel.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
        _scale(upper, lower, planned)
        return _plot.svg(figure)


def _without_epochs(title: str) -> Any:
    figure = _plot.figure(WIDTH, 110, title)
    figure.text(0.04, 0.3, "no epoch is done yet", color=SOFT)
    return figure


def _points(rows: Sequence[Mapping[str, Any]], name: str) -> list[Point]:
    """Return (epoch, value), the training from 1, the search up to 0; no values but numbers."""
    return [
        (int(row["epoch"]) - (int(row["epochs"]) if row["stage"] == "search" else 0), row[name])
        for row in rows
        if row[name] is not None and math.isfinite(row[name])
    ]


def _line(panel: Any, points: Sequence[Point], name: str, colour: str) -> None:
    """Draw a line through points, broken after the search, with dots where they are few."""
    if points:
        gap = [(0.5, math.nan)] if points[0][0] < 1 else []
        epochs, values = zip(*sorted([*points, *gap]), strict=True)
        dots = {"marker": "o", "markersize": 4} if len(points) <= _DOTTED else {}
        panel.plot(epochs, values, color=colour, label=name, gid=name.replace(" ", "-"), **dots)


def _mark_best(panel: Any, points: Sequence[Point]) -> None:
    """Mark the best epoch; of equal ones the later, as the delivered one is."""
    if not points:
        return
    epoch, value = max(points, key=lambda point: (point[1], point[0]))
    panel.plot(epoch, value, "o", markersize=9, fillstyle="none", color=INK, gid="best")
    is_late = epoch > (points[0][0] + points[-1][0]) / 2
    panel.annotate(
        f"best: {100 * value:.2f} % in epoch {epoch}",
        (epoch, value),
        xytext=(-8 if is_late else 8, -26),
        textcoords="offset points",
        ha="right" if is_late else "left",
        fontweight="bold",
    )


def _shade_search(panel: Any, searched: int) -> None:
    """Shade the epochs of the search, and say so."""
    if searched:
        panel.axvspan(0.5 - searched, 0.5, color=_SHADE, lw=0, zorder=0, gid="search")
        at = {"transform": panel.get_xaxis_transform(), "va": "top", "color": SOFT}
        panel.text(0.5 - searched, 0.98, " search", fontsize=8, **at)


def _scale(upper: Any, lower: Any, planned: Mapping[str, int]) -> None:
    """Show the whole job, whatever of it is done; count the epochs of the training, from 1."""
    searched, training = planned.get("search", 0), planned.get("train", 0)
    lower.set_xlim(0.5 - searched, max(training, 1 - searched) + 0.5)
    lower.set_xlabel("epoch")
    lower.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    lower.xaxis.set_major_formatter(lambda epoch, _: f"{epoch:g}" if epoch >= 1 else "")
    lower.set_ylim(bottom=0)
    upper.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g} %")
    low, high = upper.get_ylim()
    upper.set_ylim(max(0.0, min(low, high - 0.1)), min(1.02, max(high, low + 0.1)))


def _drawn(account: Account) -> str | None:
    if not _plot.is_possible():
        return None
    title = f"{account.report['architecture']} on {account.report['dataset']}"
    metric = "F1" if account.report["metric"] == "f1" else "accuracy"
    return curve_svg([asdict(row) for row in account.rows], title, metric=metric)


ARTIFACT = Artifact(file="curve.svg", text=_drawn)
