"""The picture of `benchmarks.methods`: accuracy over budget, one line for each arm."""

from collections.abc import Mapping, Sequence
from typing import Any

from npas.artifacts import _plot
from npas.artifacts._svg import COLOURS, SOFT, WIDTH

from benchmarks.arms import ARMS, DENSE
from benchmarks.scores import Score, Stored

_DODGE = 0.012
"""Part of a budget by which neighbouring arms are moved apart, so that their bars can be seen."""


def accuracy_svg(stored: Stored) -> str:
    """Draw accuracy over budget: methods on the left, the parts of the search on the right.

    Args:
        stored: the runs of one setting.

    Returns:
        a whole SVG document, 960 pixels wide.
    """
    about = stored.setting
    title = f"{about['architecture']} on {about['dataset']['name']}: accuracy over budget"
    scores = {
        arm: {b: found for b in stored.budgets if (found := stored.score(arm, b))}
        for arm in stored.arms
    }
    scores = {arm: found for arm, found in scores.items() if found}
    with _plot.look():
        if not stored.budgets or not scores:
            empty = _plot.figure(WIDTH, 110, title)
            empty.text(0.04, 0.3, "no run is done yet", color=SOFT)
            return _plot.svg(empty)
        figure = _plot.figure(WIDTH, 560, title)
        refined = {ARMS[arm].of for arm in scores}
        panels = {
            "methods": [arm for arm in scores if not ARMS[arm].of and arm != DENSE],
            "what the search adds": [arm for arm in scores if ARMS[arm].of or arm in refined],
        }
        axes = figure.subplots(1, 2, sharey=True)
        for panel, (name, arms) in zip(axes, panels.items(), strict=True):
            _draw(panel, name, {arm: scores[arm] for arm in arms}, scores.get(DENSE), stored)
        return _plot.svg(figure)


def _draw(
    panel: Any,
    name: str,
    scores: Mapping[str, Mapping[float, Score]],
    dense: Mapping[float, Score] | None,
    stored: Stored,
) -> None:
    """Draw one panel: the dense network as a level with its interval, a line for each arm."""
    panel.set_title(name, loc="left", fontsize=10, fontweight="bold")
    if dense:
        level = next(iter(dense.values()))
        half = level.half or 0.0
        panel.axhspan(level.mean - half, level.mean + half, color="#f3f1ea", lw=0, zorder=0)
        panel.axhline(
            level.mean, color=SOFT, linestyle=(0, (6, 4)), lw=1.2, label=ARMS[DENSE].title
        )
    for place, (arm, found) in enumerate(scores.items()):
        factor = 1 + _DODGE * (place - (len(scores) - 1) / 2)
        budgets = sorted(found)
        panel.errorbar(
            [factor * budget for budget in budgets],
            [found[budget].mean for budget in budgets],
            [found[budget].half or 0.0 for budget in budgets],
            label=ARMS[arm].title,
            gid=arm,
            marker="o",
            markersize=4,
            elinewidth=1.2,
            **_look(arm),
        )
    panel.set_xscale("log")
    panel.set_xticks(stored.budgets, [f"{100 * budget:g} %" for budget in stored.budgets])
    panel.minorticks_off()
    panel.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g} %")
    panel.set_xlabel("parameters, of the dense network's (logarithmic)")
    panel.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2, fontsize=8)


def _look(arm: str) -> dict[str, Any]:
    """Return the same look for an arm in every picture; parts of an arm are broken lines."""
    names: Sequence[str] = [name for name in ARMS if name != DENSE]
    kin = [name for name in names if ARMS[name].of and ARMS[name].of == ARMS[arm].of]
    dash = ("--", ":")[kin.index(arm) % 2] if arm in kin else "-"
    return {"color": COLOURS[names.index(arm) % len(COLOURS)], "linestyle": dash}
