"""What one pass of networks computes, and what it takes to compose the weights of a plan."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction

from npas.arch.footprint import footprint
from npas.plans import Plan
from npas.recipes import matrices_in
from npas.spec import NetworkSpec
from npas.train.muon import matrix_shape

_ITERATIONS = 5
"""Of Muon, in a step."""

_OPERATIONS = 3 * _ITERATIONS + 8
"""Of a step of Muon for a matrix."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """A forward pass: multiply-adds and bytes of one image, operations of a batch."""

    macs: int = 0
    operations: int = 0
    kept_bytes: int = 0


def one_pass(
    networks: Sequence[NetworkSpec], *, batch: int, chances: Sequence[Fraction] | None = None
) -> Pass:
    """Return the forward pass of networks side by side, what it costs in the mean.

    Args:
        networks: with all sizes; may be none.
        batch: images at a time.
        chances: how likely each takes part, 0 to 1; None: all do.
    """
    found = [footprint(network.architecture, batch=batch) for network in networks]
    likely = [Fraction(1)] * len(found) if chances is None else chances
    weighed = list(zip(found, likely, strict=True))
    return Pass(
        macs=int(sum(each.macs * chance for each, chance in weighed)),
        operations=int(sum(each.operations * chance for each, chance in weighed)),
        kept_bytes=int(sum(each.kept_bytes * chance for each, chance in weighed)) // batch,
    )


def composing(plan: Plan, names: Collection[str]) -> Pass:
    """Return what it takes to compose all weights once that change with some networks.

    Its products are those of mixing weights and templates, one for each reader of each bank, which
    recipes may do in fewer. The weights of a group are composed together.

    Args:
        plan: of all networks.
        names: of those that are trained.
    """
    macs = 0
    groups = [group for group in plan.groups if any(slot.network in names for slot in group.slots)]
    for group in groups:
        for index, bank in enumerate(group.banks):
            readers = sum(slot.rows[index] is not None for slot in group.slots)
            macs += readers * bank.num_template_scalars
    return Pass(
        macs=macs,
        operations=sum(len(group.slots) + 2 * len(group.banks) for group in groups),
        kept_bytes=4 * sum(group.num_dense for group in groups),
    )


def orthogonalising(plan: Plan) -> Pass:
    """Return what a step of Muon computes beside that of other optimisers, for a plan.

    Of a matrix with m rows or columns, and n of the others, n the more, each of its iterations
    multiplies m x n by n x m, m x m by itself, and m x m by m x n.
    """
    counted = [
        (bank.templates, shape)
        for group in plan.groups
        for bank, shapes in zip(group.banks, matrices_in(group), strict=True)
        for shape in shapes
    ]
    own = (matrix_shape("weight", layer.shape) for layer in plan.private)
    counted += [(1, shape) for shape in own if shape is not None]
    macs = 0
    for count, shape in counted:
        m, n = sorted(shape)
        macs += count * _ITERATIONS * (2 * m * m * n + m**3)
    return Pass(macs=macs, operations=sum(count for count, _ in counted) * _OPERATIONS)
