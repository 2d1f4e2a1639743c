"""How a plan changed in a run, as a picture: the plans one below the other."""

from collections.abc import Mapping

from npas import arch
from npas.arch.layers import Layer
from npas.artifacts import Account, Artifact
from npas.artifacts._svg import (
    COLOURS,
    GREY,
    INNER,
    MARGIN,
    SOFT,
    WIDTH,
    document,
    rect,
    text,
)
from npas.plans import Plan
from npas.plans.comparison import compare, matched

_CELL = 22
_LETTERED = 14  # least width of a cell for a letter
_MEANING = {0: "requested", 1: "searched with", 2: "after the search", 3: "refined in training"}


def refinements_svg(plans: Mapping[int, Plan], title: str) -> str:
    """Draw which layers share what in every plan of a run, a band for each network.

    A group keeps its colour from plan to plan, whatever it is called. Layers of one colour and one
    letter use the same coefficients; grey layers have weights of their own.

    Args:
        plans: of the same networks, by version; at least one.
        title: plain text.

    Returns:
        a whole SVG document, 960 pixels wide.
    """
    note = "one colour: a group that shares; one letter in it: the same coefficients"
    parts = [
        text(MARGIN, 44, title, size=20, weight=600),
        text(MARGIN, 68, note, fill=SOFT, size=14),
    ]
    colours = _colours(plans)
    top: float = 104
    before: Plan | None = None
    for version, plan in sorted(plans.items()):
        parts.append(text(MARGIN, top, f"{version}, {_MEANING.get(version, 'later')}", weight=600))
        told = _told(plan, before)
        parts.append(text(WIDTH - MARGIN, top, told, size=12, fill=SOFT, anchor="end"))
        for name, layers in _by_network(plan).items():
            parts += _band(layers, plan, colours[version], top + 10)
            if len(plan.networks) > 1:
                parts.append(text(MARGIN, top + 10 + _CELL + 13, name, size=11, fill=SOFT))
                top += 16
            top += _CELL + 4
        top += 34
        before = plan
    return document(top - 8, title, parts)


def _told(plan: Plan, before: Plan | None) -> str:
    rows = sum(bank.rows for group in plan.groups for bank in group.banks)
    told = f"groups: {len(plan.groups)}; parameters: {plan.ledger.total:,}; "
    told += f"rows of coefficients: {rows}"
    return told + (f"; layers that moved: {len(compare(before, plan).moves)}" if before else "")


def _colours(plans: Mapping[int, Plan]) -> dict[int, dict[str, str]]:
    """Return the colour of every group of every plan."""
    found: dict[int, dict[str, str]] = {}
    before: Plan | None = None
    known: dict[str, int] = {}
    count = 0
    for version, plan in sorted(plans.items()):
        partner = matched(before, plan) if before else {}
        numbers = {}
        for group in plan.groups:
            if group.name in partner:
                numbers[group.name] = known[partner[group.name]]
            else:
                numbers[group.name], count = count, count + 1
        found[version] = {name: COLOURS[n % len(COLOURS)] for name, n in numbers.items()}
        before, known = plan, numbers
    return found


def _by_network(plan: Plan) -> dict[str, list[Layer]]:
    homes = {slot.key for group in plan.groups for slot in group.slots}
    homes |= {layer.key for layer in plan.private}
    found: dict[str, list[Layer]] = {network.name: [] for network in plan.networks}
    for layer in arch.layer_table(plan.networks).layers:
        if layer.key in homes:
            found[layer.network].append(layer)
    return found


def _band(layers: list[Layer], plan: Plan, colours: Mapping[str, str], top: float) -> list[str]:
    slots = {s.key: (g.name, s) for g in plan.groups for s in g.slots}
    letters = _letters(plan)
    width = INNER / max(1, len(layers))
    parts = []
    for index, layer in enumerate(layers):
        name, slot = slots.get(layer.key, (None, None))
        x = MARGIN + index * width
        letter = letters[name, slot.rows] if name and slot else ""
        note = f"{layer.name}: {f'{name}, coefficients {letter}' if name else 'not shared'}"
        colour = colours[name] if name else GREY
        parts.append(rect(x, top, width - min(2, width / 6), _CELL, colour, title=note, radius=2))
        if letter and width >= _LETTERED:
            parts.append(text(x + width / 2 - 1, top + 15, letter, size=11, anchor="middle"))
    return parts


def _letters(plan: Plan) -> dict[tuple[str, tuple[int | None, ...]], str]:
    """Return a letter for every set of coefficient rows of a group, a to z, then a2 to z2, ..."""
    found: dict[tuple[str, tuple[int | None, ...]], str] = {}
    for group in plan.groups:
        for number, rows in enumerate(dict.fromkeys(slot.rows for slot in group.slots)):
            turn, letter = divmod(number, 26)
            found[group.name, rows] = chr(97 + letter) + (str(turn + 1) if turn else "")
    return found


def _text(account: Account) -> str | None:
    """Return the picture, None for a run that had one plan only."""
    if len(account.plans) < 2:
        return None
    return refinements_svg(account.plans, f"Plans of {account.report['architecture']}")


ARTIFACT = Artifact(file="refinements.svg", text=_text)
