"""A plan as a picture: which layers share what."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

from npas import arch
from npas.arch.layers import Layer
from npas.artifacts import Artifact
from npas.artifacts._svg import (
    AXIS,
    COLOURS,
    GREY,
    INK,
    INNER,
    MARGIN,
    SOFT,
    WIDTH,
    document,
    rect,
    rule,
    text,
)
from npas.plans import Group, Plan

_LEGEND_ROWS = 14
_BARS, _BARS_OF_MANY = 150, 96


def allocation_svg(plan: Plan) -> str:
    """Draw which layers share what, every network's layers in depth order.

    A layer is a bar, as high as the logarithm of its size and coloured by its group; grey layers
    keep weights of their own. Above, what is stored beside what the dense networks would store.

    Args:
        plan: any.

    Returns:
        a whole SVG document, 960 pixels wide.
    """
    layers = arch.planned_layers(plan)
    groups = {s.key: g for g in plan.groups for s in g.slots}
    colours = {g.name: COLOURS[i % len(COLOURS)] for i, g in enumerate(plan.groups)}
    parts = _heading(plan)
    parts += _store(plan, colours, top=92)
    top = 176
    height = _BARS if len(plan.networks) == 1 else _BARS_OF_MANY
    for network in plan.networks:
        own = [layer for layer in layers if layer.network == network.name]
        label = f"{network.name}: {network.architecture.name}"
        if len(plan.networks) == 1:
            label = "layers from input to output; height: parameters, logarithmic"
        parts += _network(label, own, _scale(layers), groups, colours, top=top, height=height)
        top += height + 66
    legend = _legend(plan, layers, colours, top=top)
    bottom = top + 22 * min(len(plan.groups) + 1, _LEGEND_ROWS + 2) + 28
    return document(bottom, f"Allocation of {_names(plan)}", [*parts, *legend])


def _short(count: float) -> str:
    """Write a count of parameters in four characters or so."""
    for unit, name in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if count >= unit:
            digits = 0 if count >= 100 * unit else 1 if count >= 10 * unit else 2
            return f"{count / unit:.{digits}f}{name}"
    return f"{count:.0f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %"


def _names(plan: Plan) -> str:
    return " + ".join(network.architecture.name for network in plan.networks)


def _heading(plan: Plan) -> list[str]:
    ledger = plan.ledger
    names = _names(plan)
    if len(names) > 56:
        names = f"{len(plan.networks)} networks"
    stored = f"{ledger.total:,} parameters, {_percent(ledger.total, ledger.dense)} of the dense "
    return [
        text(MARGIN, 44, f"{names}, {plan.method}", size=20, weight=600),
        text(MARGIN, 68, f"{stored}{ledger.dense:,}", fill=SOFT, size=14),
    ]


def _store(plan: Plan, colours: Mapping[str, str], *, top: float) -> list[str]:
    """Draw one long bar: all that is stored, group by group, on the scale of the dense size."""
    ledger = plan.ledger
    unit = INNER / max(ledger.dense, ledger.budget)
    parts = [rect(MARGIN, top, ledger.dense * unit, 26, "#f0f2f5", radius=4)]
    pieces = [(g.name, g.num_parameters, colours[g.name]) for g in plan.groups]
    pieces.append(("not shared", ledger.private, GREY))
    x: float = MARGIN
    for name, count, colour in pieces:
        note = f"{name}: {count:,} parameters"
        parts.append(rect(x, top, count * unit, 26, colour, title=note))
        x += count * unit
    limit = MARGIN + ledger.budget * unit
    parts.append(rule(limit, top - 6, limit, top + 32, INK, dash="3 2"))
    is_late = limit > WIDTH - 220
    parts.append(
        text(
            limit,
            top + 46,
            f"budget {ledger.budget:,}, {ledger.unused:,} unused",
            size=12,
            anchor="end" if is_late else "start",
        )
    )
    if not is_late or ledger.dense < ledger.budget:
        end = MARGIN + ledger.dense * unit
        anchor = "end" if end > WIDTH / 4 else "start"
        parts.append(rule(end, top - 6, end, top + 32, AXIS))
        parts.append(text(end, top + 46, "dense size", size=12, fill=SOFT, anchor=anchor))
    return parts


def _scale(layers: Sequence[Layer]) -> tuple[float, float]:
    """Return the logarithms at the foot, a whole power of ten, and the top of the bars."""
    sizes = [layer.size for layer in layers]
    foot = math.floor(math.log10(min(sizes)) - 0.3)
    return foot, max(math.log10(max(sizes)) + 0.1, foot + 1)


def _network(
    label: str,
    layers: Sequence[Layer],
    scale: tuple[float, float],
    groups: Mapping[tuple[str, str], Group],
    colours: Mapping[str, str],
    *,
    top: float,
    height: float,
) -> list[str]:
    foot, roof = scale
    parts = [text(MARGIN, top, label, size=12, fill=SOFT)]
    top += 14
    left, unit = MARGIN + 34, height / (roof - foot)
    for power in range(math.ceil(foot + 0.01), math.floor(roof) + 1):
        y = top + height - (power - foot) * unit
        parts.append(rule(left, y, WIDTH - MARGIN, y))
        parts.append(text(left - 6, y + 4, f"{_power(power)}", size=11, fill=SOFT, anchor="end"))
    step = min(40.0, (WIDTH - MARGIN - left) / len(layers))
    gap = min(3.0, step * 0.18)
    for index, layer in enumerate(layers):
        group = groups.get(layer.key)
        tall = (math.log10(layer.size) - foot) * unit
        shape = "x".join(map(str, layer.shape))
        note = f"{layer.name}: {shape}, {layer.size:,} parameters, "
        note += f"shares in {group.name}" if group else "not shared"
        colour = colours[group.name] if group else GREY
        x, y = left + index * step, top + height - tall
        parts.append(rect(x, y, step - gap, tall, colour, title=note, radius=min(2, step / 6)))
        if group and step >= 20:
            middle = x + (step - gap) / 2
            parts.append(text(middle, y - 4, group.name, size=10, fill=SOFT, anchor="middle"))
    parts.append(rule(left, top + height, WIDTH - MARGIN, top + height, AXIS))
    return parts + _stages(layers, left, step, top + height)


def _stages(layers: Sequence[Layer], left: float, step: float, foot: float) -> list[str]:
    """Name the stages below their bars, where there is room for the name."""
    parts = []
    first = 0
    for stage, members in groupby(layers, key=lambda layer: layer.stage):
        count = len(list(members))
        x1, x2 = left + first * step + 1, left + (first + count) * step - 3
        parts.append(rule(x1, foot + 7, x2, foot + 7, AXIS))
        if len(stage) * 6.2 <= count * step:
            parts.append(
                text((x1 + x2) / 2, foot + 21, stage, size=11, fill=SOFT, anchor="middle")
            )
        first += count
    return parts


def _power(power: int) -> str:
    return _short(10**power).replace(".00", "").replace(".0", "")


def _legend(
    plan: Plan, layers: Sequence[Layer], colours: Mapping[str, str], *, top: float
) -> list[str]:
    kinds = {layer.key: layer.kernel_class for layer in layers}
    rows = [_group_row(group, kinds, colours[group.name]) for group in plan.groups]
    kept = plan.ledger.private - sum(math.prod(p.shape) for p in plan.private)
    own = _count(len(plan.private), "layer")
    private = f"{own} with weights of their own, {_short(kept)} norms and biases"
    rest = len(rows) - _LEGEND_ROWS
    if rest > 0:
        rows = rows[:_LEGEND_ROWS]
        rows.append(("", "", f"and {rest} more groups", "", "", ""))
    rows.append((GREY, "", private, "", _short(plan.ledger.private), ""))
    parts: list[str] = []
    for index, (colour, name, what, templates, size, saved) in enumerate(rows):
        y = top + 22 * index + 8
        if colour:
            parts.append(rect(MARGIN, y - 11, 14, 14, colour, radius=3))
        parts.append(text(MARGIN + 24, y, name, weight=600))
        parts.append(text(MARGIN + 24 + (44 if name else 0), y, what))
        parts.append(text(MARGIN + 370, y, templates, fill=SOFT))
        parts.append(text(WIDTH - MARGIN - 120, y, size, anchor="end"))
        parts.append(text(WIDTH - MARGIN, y, saved, fill=SOFT, anchor="end"))
    return parts


def _group_row(
    group: Group, kinds: Mapping[tuple[str, str], str], colour: str
) -> tuple[str, str, str, str, str, str]:
    """Return colour, name, layers, templates, stored size, and what that saves."""
    classes = sorted({kinds[slot.network, slot.layer] for slot in group.slots})
    templates = sum(bank.templates for bank in group.banks)
    saved = 1 - group.num_parameters / group.num_dense
    change = f"{100 * saved:.0f} % saved" if saved >= 0 else f"{-100 * saved:.0f} % more"
    return (
        colour,
        group.name,
        f"{_count(len(group.slots), 'layer')}, {', '.join(classes[:3])}",
        f"{_count(templates, 'template')} in {_count(len(group.banks), 'bank')}",
        f"{_short(group.num_parameters)} instead of {_short(group.num_dense)}",
        change,
    )


ARTIFACT = Artifact(file="allocation.svg", text=lambda account: allocation_svg(account.plan))
