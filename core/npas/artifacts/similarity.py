"""How alike the layers of each group are, epoch by epoch, as a picture."""

from collections.abc import Sequence
from typing import Any

from npas.artifacts import Account, Artifact, _plot
from npas.artifacts._svg import SOFT, WIDTH
from npas.folding.similarity import History
from npas.plans import Group, Plan

_COLUMNS = 5
_SIDE = 190
"""Pixels of a row of matrices, with its words."""


def similarity_svg(plan: Plan, history: History, title: str) -> str:
    """Draw the similarity matrices of some epochs side by side, a row for each group.

    Args:
        plan: whose groups they are.
        history: at least one epoch of at least one group; epoch 0 is the start.
        title: plain text.

    Returns:
        a whole SVG document, 960 pixels wide.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    groups = [group for group in plan.groups if group.name in history.matrices]
    with _plot.look():
        figure = _plot.figure(WIDTH, 120 + _SIDE * len(groups), title)
        figure.get_layout_engine().set(h_pad=0.12)
        rows = figure.subplots(len(groups), _COLUMNS, squeeze=False)
        for panels, group in zip(rows, groups, strict=True):
            _draw(panels, group, history)
        image = rows[0][0].images[0]
        bar = figure.colorbar(image, ax=rows, location="bottom", shrink=0.3, aspect=40, pad=0.03)
        bar.set_label("absolute cosine of the layers' weights, in order")
        bar.outline.set_visible(False)
        return _plot.svg(figure)


def _draw(panels: Sequence[Any], group: Group, history: History) -> None:
    """Draw the matrices of one group, a panel each."""
    matrices = history.matrices[group.name]
    chosen = _chosen(len(matrices))
    for panel in panels[len(chosen) :]:
        panel.set_axis_off()
    for panel, index in zip(panels, chosen, strict=False):
        matrix = matrices[index].numpy()
        panel.imshow(matrix, cmap="Blues", vmin=0, vmax=1, interpolation="none")
        epoch = f"epoch {history.epochs[index]}" if history.epochs[index] else "start"
        panel.set_xlabel(epoch, color=SOFT)
        panel.set(xticks=[], yticks=[])
        panel.grid(visible=False)
    label = panels[0].set_title(_label(group, len(matrices[0])), loc="left", fontsize=10)
    label.set_in_layout(False)  # it is wider than the first matrix


def _chosen(count: int) -> list[int]:
    """Return which epochs are drawn: the first, the last, and some evenly between."""
    steps = range(_COLUMNS)
    return sorted({round(step * (count - 1) / (_COLUMNS - 1)) for step in steps})


def _label(group: Group, drawn: int) -> str:
    shape = "x".join(map(str, group.slots[0].shape))
    templates = sum(bank.templates for bank in group.banks)
    named = f"{group.name}: {len(group.slots)} layers of {shape}, {templates} templates"
    return named if drawn == len(group.slots) else f"{named}, the first {drawn} layers"


def _drawn(account: Account) -> str | None:
    if account.history is None or not account.history.matrices or not _plot.is_possible():
        return None
    title = f"Layer similarity of {account.report['architecture']}, {account.plan.method}"
    return similarity_svg(account.plan, account.history, title)


ARTIFACT = Artifact(file="similarity.svg", text=_drawn)
