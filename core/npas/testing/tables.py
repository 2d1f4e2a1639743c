"""Layer tables out of thin air, and what could be measured on them: strategies of hypothesis."""

import collections
import random
import typing
from collections.abc import Sequence

from hypothesis import strategies as st

from npas.arch.layers import Layer, LayerTable, Role
from npas.plans import Group
from npas.plans.evidence import (
    BankAgreement,
    CoefficientAgreement,
    Evidence,
    EvidenceKind,
    Similarity,
)
from npas.testing.effort import Effort

ROLES: tuple[Role, ...] = (*typing.get_args(Role), "body", "body")
"""Bodies are drawn three times as often."""

KERNELS: tuple[tuple[int, ...], ...] = ((), (1, 1), (3, 3), (3, 1), (2, 2, 2))
KINDS = {0: ("linear", "attention"), 2: ("conv2d", "grouped"), 3: ("conv3d", "grouped")}
"""Of a layer with so many kernel axes: the common kind and a rare one."""


@st.composite
def tables(draw: st.DrawFn, effort: Effort | None = None) -> LayerTable:
    """Layers of one to three networks: few shapes, so that some nest, some repeat, some do not.

    Args:
        draw: hypothesis's.
        effort: how many layers, and how large; None: `Effort()`.
    """
    effort = effort or Effort()
    side = st.integers(1, effort.max_side)
    boxes = draw(st.lists(st.tuples(side, side), min_size=1, max_size=5))
    kernels = draw(st.lists(st.sampled_from(KERNELS), min_size=1, max_size=2))
    layers = []
    for network in "abc"[: draw(st.integers(1, 3))]:
        for index in range(draw(st.integers(1, effort.max_layers))):
            kernel = draw(st.sampled_from(kernels))
            common, rare = KINDS[len(kernel)]
            layers.append(
                Layer(
                    network=network,
                    name=f"{index}.weight",
                    kind=rare if draw(st.integers(0, 9)) == 9 else common,
                    shape=(*draw(st.sampled_from(boxes)), *kernel),
                    role=draw(st.sampled_from(ROLES)),
                    stage=f"stage {index // 4}",
                )
            )
    return LayerTable(layers=tuple(layers), others=draw(st.integers(0, 100)))


@st.composite
def budgets(draw: st.DrawFn, least: int, dense: int) -> int:
    """From the minimum to three times the dense size, the ends and the dense size more often."""
    most = max(least, 3 * dense)
    ends = sorted({least, max(least, dense - 1), max(least, dense), most})
    return draw(st.one_of(st.sampled_from(ends), st.integers(least, most)))


@st.composite
def _cosines(draw: st.DrawFn, size: int) -> tuple[tuple[float, ...], ...]:
    """A symmetric matrix of agreement, 1 on the diagonal; from one seed, there are many pairs."""
    values = random.Random(draw(st.integers(0, 2**32)))
    rows = [[round(values.uniform(-1, 1), 2) for _ in range(size)] for _ in range(size)]
    return tuple(
        tuple(1.0 if i == j else rows[min(i, j)][max(i, j)] for j in range(size))
        for i in range(size)
    )


@st.composite
def evidences(
    draw: st.DrawFn, table: LayerTable, kind: EvidenceKind = "gradient_agreement"
) -> Evidence:
    """Agreement of every pair of layers of one class and their energy; or of what shared a bank.

    Args:
        draw: hypothesis's.
        table: of the layers.
        kind: gradients are measured of all layers; representations only of those that shared.
    """
    classes = collections.defaultdict(list)
    chance = random.Random(draw(st.integers(0, 2**32)))
    for layer in table.layers:
        of_gradients = kind == "gradient_agreement"
        name = layer.kernel_class if of_gradients else chance.choice(["one bank", "another", ""])
        if name:
            classes[name].append(layer.key)
    is_known = kind == "gradient_agreement" and chance.random() < 0.8
    found = [
        Similarity(
            layers=tuple(names),
            cosine=draw(_cosines(len(names))),
            energy=tuple(chance.choice([0.0, chance.random()]) for _ in names) if is_known else (),
        )
        for names in classes.values()
    ]
    return Evidence(kind=kind, batches=1, classes=tuple(found))


@st.composite
def agreements(draw: st.DrawFn, groups: Sequence[Group]) -> CoefficientAgreement:
    """Agreement of the readers of every bank that has coefficients and several readers."""
    found = []
    for group in groups:
        for index, bank in enumerate(group.banks):
            readers = [slot for slot in group.slots if slot.rows[index] is not None]
            if bank.rows and len(readers) > 1:
                names = tuple(slot.key for slot in readers)
                cosine = draw(_cosines(len(names)))
                found.append(
                    BankAgreement(group=group.name, bank=index, layers=names, cosine=cosine)
                )
    return CoefficientAgreement(batches=1, banks=tuple(found))
