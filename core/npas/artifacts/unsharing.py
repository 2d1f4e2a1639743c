"""What sharing costs each layer, as a picture."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from npas.artifacts import Account, Artifact
from npas.artifacts._svg import (
    AXIS,
    COLOURS,
    GREY,
    INK,
    MARGIN,
    SOFT,
    WIDTH,
    document,
    rect,
    rule,
    text,
)

Row = Mapping[str, Any]
"""A field of `npas.delivery.allocation_report.LayerReport`, by name."""

_LEFT, _TOP = MARGIN + 52, 122
_HEIGHT = 220
_TICKS = (1, 2, 5, 10)


def unsharing_svg(allocation: Mapping[str, Any], title: str) -> str:
    """Draw how much lower the loss is with each layer un-shared, every network's in depth order.

    A bar stands above the line where un-sharing lowers the loss, below it where it raises it, with
    one standard error to each side; it is coloured by its group. Grey marks on the line are layers
    with plain weights, hollow ones layers that were not measured.

    Args:
        allocation: fields of `npas.delivery.allocation_report.AllocationReport`; some layers are
            measured.
        title: one line.

    Returns:
        a whole SVG document, 960 pixels wide.
    """
    layers, measuring = allocation["layers"], allocation["measuring"]
    names = list(dict.fromkeys(row["group"] for row in layers if row["group"]))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    low, high = _range(layers)
    kind = "held-out" if measuring["are_held_out"] else "training"
    told = (
        f"loss on {measuring['images']:,} {kind} images, after at most {measuring['steps']} steps "
        f"on {measuring['step_images']:,} others: all shared, less this layer un-shared"
    )
    parts = [
        text(MARGIN, 44, title, size=20, weight=600),
        text(MARGIN, 68, told, fill=SOFT, size=13),
        text(MARGIN, 90, _note(measuring), fill=SOFT, size=13),
        *_axis(low, high),
        *_bars(layers, colours, low, high),
    ]
    bottom = _TOP + _HEIGHT + 24
    parts += _networks(layers, bottom)
    for index, name in enumerate(names[:24]):
        x, y = MARGIN + 110 * (index % 8), bottom + 28 + 22 * (index // 8)
        parts.append(rect(x, y - 11, 14, 14, colours[name], radius=3))
        parts.append(text(x + 22, y, name))
    return document(bottom + 40 + 22 * math.ceil(min(24, len(names)) / 8), title, parts)


def _note(measuring: Mapping[str, Any]) -> str:
    """Return the line on how the bars are to be read."""
    left_out = measuring["layers_left_out"]
    rest = f"; {left_out} layers were not measured" if left_out else ""
    return f"above the line, un-sharing lowers the loss; whiskers: one standard error{rest}"


def _gain(row: Row) -> tuple[float, float]:
    """Return by how much un-sharing lowers the loss, and the standard error of that."""
    found = row["measured"]
    return -found["loss_change"], found["standard_error"] or 0.0


def _range(layers: Sequence[Row]) -> tuple[float, float]:
    """Return the least and the largest loss change that is drawn; 0 lies between."""
    found = [_gain(row) for row in layers if row["measured"]]
    low = min(0.0, *(gain - error for gain, error in found), 0.0)
    high = max(0.0, *(gain + error for gain, error in found), 0.0)
    wide = (high - low) or 1.0
    return (low - 0.04 * wide if low else 0.0), high + 0.04 * wide


def _y(value: float, low: float, high: float) -> float:
    return _TOP + _HEIGHT * (high - value) / (high - low)


def _axis(low: float, high: float) -> list[str]:
    """Return lines at round numbers, the one at 0 darker."""
    power = 10 ** math.floor(math.log10((high - low) / 3))
    step = next(tick * power for tick in _TICKS if (high - low) / (tick * power) <= 6)
    parts = []
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        y = _y(number * step, low, high)
        parts.append(rule(_LEFT, y, WIDTH - MARGIN, y, AXIS if number == 0 else "#e4e7eb"))
        label = f"{number * step:.4g}"
        parts.append(text(_LEFT - 6, y + 4, label, size=11, fill=SOFT, anchor="end"))
    return parts


def _bars(layers: Sequence[Row], colours: Mapping[str, str], low: float, high: float) -> list[str]:
    step = min(40.0, (WIDTH - MARGIN - _LEFT) / len(layers))
    wide, zero = step - min(3.0, step * 0.18), _y(0.0, low, high)
    parts = []
    for index, row in enumerate(layers):
        x = _LEFT + index * step
        name = f"{row['network']}/{row['layer']}"
        if not row["measured"]:
            why = f"not measured, shares in {row['group']}" if row["group"] else "not shared"
            fill = "#ffffff" if row["group"] else GREY
            parts.append(rect(x, zero - 3, wide, 6, colours.get(row["group"], GREY)))
            parts.append(rect(x + 1, zero - 2, wide - 2, 4, fill, title=f"{name}: {why}"))
            continue
        gain, error = _gain(row)
        top, foot = sorted((_y(gain, low, high), zero))
        note = (
            f"{name}: {gain:+.5f} nats lower, +- {error:.5f}; shares in {row['group']} with "
            f"{row['readers'] - 1} layers, un-shared {row['measured']['parameters']:,} "
            "parameters more"
        )
        tall = max(foot - top, 0.5)
        parts.append(rect(x, top, wide, tall, colours[row["group"]], title=note))
        ends = (_y(gain + error, low, high), _y(gain - error, low, high))
        parts.append(rule(x + wide / 2, ends[0], x + wide / 2, ends[1], INK))
    return parts


def _networks(layers: Sequence[Row], y: float) -> list[str]:
    """Return the names of the networks below their layers, where there are several."""
    runs = [(name, len(list(rows))) for name, rows in groupby(layers, lambda r: r["network"])]
    if len(runs) == 1:
        return [text(_LEFT, y, "layers from input to output", size=11, fill=SOFT)]
    step = min(40.0, (WIDTH - MARGIN - _LEFT) / len(layers))
    parts, first = [], 0
    for name, count in runs:
        left, right = _LEFT + first * step + 1, _LEFT + (first + count) * step - 3
        parts.append(rule(left, y - 12, right, y - 12, AXIS))
        if len(name) * 6.2 <= count * step:
            middle = (left + right) / 2
            parts.append(text(middle, y, name, size=11, fill=SOFT, anchor="middle"))
        first += count
    return parts


def _drawn(account: Account) -> str | None:
    allocation = account.report.get("allocation")
    if not allocation or not allocation["measuring"]:
        return None
    report = account.report
    return unsharing_svg(
        allocation, f"{report['architecture'][:48]}, {report['method']}: what sharing costs"
    )


ARTIFACT = Artifact(file="unsharing.svg", text=_drawn)
