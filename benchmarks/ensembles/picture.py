"""The picture of `benchmarks.ensemble`: accuracy over parameters, and over an image's cost."""

import statistics
from collections.abc import Sequence
from typing import Any

from npas.artifacts import _plot
from npas.artifacts._svg import COLOURS, SOFT, WIDTH

from benchmarks.ensembles.arms import ARMS, EARLY_EXIT
from benchmarks.ensembles.measures import SCORES, subset_points
from benchmarks.ensembles.stored import Stored

_ACCURACY, _NLL = SCORES[0], SCORES[1]
_DODGE = 0.008
_LINES = ("shared-superweights", "shared-block_mix", "separate-narrow", EARLY_EXIT)
"""Arms whose accuracy over cost is drawn: those whose first answer is cheap."""


def ensemble_svg(stored: Stored) -> str:
    """Draw a setting: a column for each configuration.

    Args:
        stored: its records.

    Returns:
        a whole SVG document, 960 pixels wide.
    """
    title = f"{stored.setting['dataset']['name']}: several networks in one"
    with _plot.look():
        columns = stored.configurations
        if not any(stored.of(c, arm) for c in columns for arm in stored.arms(c)):
            empty = _plot.figure(WIDTH, 110, title)
            empty.text(0.04, 0.3, "no run is done yet", color=SOFT)
            return _plot.svg(empty)
        figure = _plot.figure(WIDTH, 960, title)
        axes = figure.subplots(3, len(columns), squeeze=False)
        for place, name in enumerate(columns):
            label = stored.setting["configurations"][name]["title"]
            axes[0][place].set_title(label, loc="left", fontsize=10, fontweight="bold")
            _over_parameters(axes[0][place], stored, name, _ACCURACY)
            _over_parameters(axes[1][place], stored, name, _NLL)
            _over_cost(axes[2][place], stored, name)
        axes[0][0].set_ylabel("accuracy")
        axes[1][0].set_ylabel("NLL")
        axes[2][0].set_ylabel("accuracy, best subset for the cost")
        return _plot.svg(figure)


def _colour(arm: str) -> str:
    return COLOURS[list(ARMS).index(arm)]


def _over_parameters(panel: Any, stored: Stored, configuration: str, column: Any) -> None:
    arms = stored.arms(configuration)
    for place, arm in enumerate(arms):
        records = stored.of(configuration, arm)
        found = stored.score(configuration, arm, column.of)
        if found is None:
            continue
        factor = 1 + _DODGE * (place - (len(arms) - 1) / 2)  # so that bars can be told apart
        panel.errorbar(
            [factor * statistics.fmean(r["parameters"] for r in records)],
            [found.mean],
            [found.half or 0.0],
            fmt="o",
            color=_colour(arm),
            label=ARMS[arm].title,
            gid=arm,
            markersize=5,
            elinewidth=1.2,
        )
    if column is _ACCURACY:
        panel.yaxis.set_major_formatter(_percent)
    panel.set_xlabel("million parameters, points moved apart")
    panel.locator_params(axis="x", nbins=5)
    panel.xaxis.set_major_formatter(_millions)
    if column is _NLL:
        panel.legend(loc="upper left", bbox_to_anchor=(0, -0.2), ncols=2, fontsize=8)


def _percent(share: float, _: object) -> str:
    return f"{100 * share:.4g} %"


def _millions(count: float, _: object) -> str:
    return f"{count / 1e6:.4g}"


def mean_steps(lines: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """Return the mean of lines that stay level between their points, where all have begun.

    Args:
        lines: (cost, value) by rising cost.
    """
    low = max(line[0][0] for line in lines)
    costs = sorted({low, *(cost for line in lines for cost, _ in line if cost > low)})
    return [
        (cost, statistics.fmean([v for c, v in line if c <= cost][-1] for line in lines))
        for cost in costs
    ]


def _over_cost(panel: Any, stored: Stored, configuration: str) -> None:
    for arm in _LINES:
        records = stored.of(configuration, arm)
        if not records:
            continue
        points = mean_steps([subset_points(record) for record in records])
        panel.step(
            [cost for cost, _ in points],
            [value for _, value in points],
            where="post",
            color=_colour(arm),
            marker="o",
            markersize=3,
            gid=f"cost-{arm}",
        )
    panel.locator_params(axis="x", nbins=6)
    panel.xaxis.set_major_formatter(_millions)
    panel.yaxis.set_major_formatter(_percent)
    panel.set_xlabel("million multiply-adds for an image")
