"""Accuracy of every subset of networks over what it costs, as a picture."""

from collections.abc import Mapping, Sequence
from typing import Any

from npas.artifacts import Account, Artifact, _plot
from npas.artifacts._svg import COLOURS, GREY, INK, SOFT, WIDTH

_NAMED = 7
"""Subsets up to which each has its name; of more, single networks have."""


def cost_svg(ensemble: Mapping[str, Any], title: str) -> str:
    """Draw subsets, their envelope, and the way that early answers take.

    Args:
        ensemble: fields of `npas.delivery.ensemble_report.EnsembleReport`.
        title: one line.

    Returns:
        a whole SVG document, 960 pixels wide.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    with _plot.look():
        figure = _plot.figure(WIDTH, 480, title)
        axes = figure.subplots()
        subsets, anytime = ensemble["subsets"], ensemble["anytime"]
        _points(axes, [each for each in subsets if len(each["networks"]) > 1], GREY, "subset")
        _points(axes, [each for each in subsets if len(each["networks"]) == 1], INK, "network")
        best = [each for each in subsets if each["is_on_envelope"]]
        _steps(axes, best, COLOURS[0], "best for each cost", "envelope")
        if len(anytime["reached"]) > 1:
            _steps(axes, anytime["reached"], COLOURS[1], "early answers, in order", "ladder")
        if anytime["stop"]:
            place = (anytime["stop"]["macs"], anytime["stop"]["accuracy"])
            axes.plot(*place, "*", markersize=13, color=COLOURS[3], label="stop when confident")
        is_named = len(subsets) <= _NAMED
        for each in (each for each in subsets if is_named or len(each["networks"]) == 1):
            name = " + ".join(each["networks"]).replace("$", r"\$")
            place = (each["macs"], each["accuracy"])
            axes.annotate(name, place, xytext=(6, -11), textcoords="offset points", color=SOFT)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(lambda macs, _: f"{macs / 1e6:,.4g}")
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g} %")
        axes.set_xlabel("million multiply-adds for one image")
        axes.set_ylabel("accuracy on the test images")
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.14), ncols=5, fontsize=8)
        return _plot.svg(figure)


def _points(axes: Any, subsets: Sequence[Mapping[str, Any]], colour: str, name: str) -> None:
    if subsets:
        costs, values = zip(*((each["macs"], each["accuracy"]) for each in subsets), strict=True)
        label = {"network": "one network", "subset": "several, their mean"}[name]
        axes.plot(costs, values, "o", color=colour, markersize=5, label=label, gid=name)


def _steps(
    axes: Any, reached: Sequence[Mapping[str, Any]], colour: str, label: str, name: str
) -> None:
    costs, values = zip(*((each["macs"], each["accuracy"]) for each in reached), strict=True)
    axes.step(costs, values, where="post", color=colour, label=label, gid=name, marker="o", ms=3)


def _drawn(account: Account) -> str | None:
    ensemble = account.report.get("ensemble")
    if not ensemble or not _plot.is_possible():
        return None
    return cost_svg(ensemble, f"{account.report['dataset']}: accuracy of every subset over cost")


ARTIFACT = Artifact(file="ensemble_cost.svg", text=_drawn)
