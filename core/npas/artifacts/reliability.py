"""How often answers are right that are so confident, as a picture."""

from collections.abc import Mapping, Sequence
from typing import Any

from npas.artifacts import Account, Artifact, _plot
from npas.artifacts._svg import COLOURS, GREY, SOFT, WIDTH

_NETWORKS = 6
"""Single networks that have a line of their own."""


def reliability_svg(reliability: Sequence[Mapping[str, Any]], title: str) -> str:
    """Draw accuracy over confidence, and below it how many answers have it.

    Args:
        reliability: fields of `npas.delivery.ensemble_report.ReliabilityReport`; all networks
            together, then each.
        title: one line.

    Returns:
        a whole SVG document, 960 pixels wide.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    with _plot.look():
        figure = _plot.figure(WIDTH, 560, title)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot((0, 1), (0, 1), color=GREY, linestyle=(0, (6, 4)), label="as it should be")
        for each, colour in reversed(
            list(zip(reliability[: 1 + _NETWORKS], COLOURS, strict=False))
        ):
            filled = [i for i, images in enumerate(each["images"]) if images]
            name = each["network"].replace("$", r"\$") or "all networks together"
            upper.plot(
                [each["confidence"][i] for i in filled],
                [each["right"][i] / each["images"][i] for i in filled],
                color=colour,
                label=name,
                gid=f"reliability-{each['network'] or 'all'}",
                lw=1.1 if each["network"] else 2.4,
                marker="o",
                markersize=2 if each["network"] else 5,
            )
        images = reliability[0]["images"]
        width = 1 / len(images)
        places = [(i + 0.5) * width for i in range(len(images))]
        lower.bar(places, images, width=0.9 * width, color=COLOURS[0])
        lower.set_xlabel("confidence: probability of the class that is said")
        lower.set_ylabel("images", color=SOFT)
        upper.set_ylabel("share that is right")
        upper.set_xlim(0, 1)
        upper.set_ylim(0, 1.02)
        upper.legend(loc="upper left", fontsize=8)
        return _plot.svg(figure)


def _drawn(account: Account) -> str | None:
    ensemble = account.report.get("ensemble")
    if not ensemble or not _plot.is_possible():
        return None
    title = f"{account.report['dataset']}: how far confidence can be believed"
    return reliability_svg(ensemble["reliability"], title)


ARTIFACT = Artifact(file="reliability.svg", text=_drawn)
