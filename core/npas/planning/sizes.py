"""Which sizes of a network may be planned at one budget: its family's, within limits.

A network that shares may be larger than the budget's dense one: Savarese & Maire, "Learning
Implicitly Recurrent CNNs Through Parameter Sharing", ICLR 2019, report a WRN-28-14 that shares
ahead of a WRN-28-10 that does not, with fewer parameters. It takes more to run, which is what
limits are for. See docs/decisions/0046.
"""

import math
from collections.abc import Iterator, Sequence

from npas import arch
from npas.arch.costs import RunningCost, running_cost
from npas.errors import InvalidSpecError
from npas.planning.problem import PlanningProblem
from npas.spec import LimitsSpec

MAX_SIZES = 8
"""Most sizes that are offered, the one asked for among them."""

MOST_MACS = 2
"""Times the multiply-adds of the network asked for, where no limit is given."""


def cost_of(problem: PlanningProblem) -> RunningCost:
    """Return what the network that a problem is planned of takes to run."""
    return running_cost(problem.base[0].architecture)


def others(problem: PlanningProblem) -> Iterator[PlanningProblem]:
    """Yield the problem of each other size of the family, always in the same order.

    Left out is a size that is too large to plan, or that has no layer which `unshared` names.
    """
    (network,) = problem.networks
    for size in arch.other_sizes(network.architecture):
        try:
            found = network.model_copy(update={"architecture": arch.resolve(size)})
            sized = problem.sized((found,))
            sized.free(sized.base)
        except InvalidSpecError:
            continue
        yield sized


def within(problem: PlanningProblem) -> Iterator[PlanningProblem]:
    """Yield the problem of each size within the limits, first that of the network asked for.

    Raises:
        InvalidSpecError: there is none; the message names the least of what is limited.
    """
    limits, asked = problem.limits, problem.sized(problem.networks)
    assert limits is not None
    most = limits.macs or MOST_MACS * cost_of(asked).macs
    over = []
    is_any = False
    for size in (asked, *others(problem)):
        cost = cost_of(size)
        is_small = limits.activation_bytes is None or (
            cost.activation_bytes <= limits.activation_bytes
        )
        if cost.macs <= most and is_small:
            is_any = True
            yield size
        else:
            over.append(size)
    if not is_any:
        raise _nothing_within(limits, over)


def _nothing_within(limits: LimitsSpec, sizes: Sequence[PlanningProblem]) -> InvalidSpecError:
    """Return the refusal of limits that no size keeps."""
    fewest = min(sizes, key=lambda size: cost_of(size).macs)
    smallest = min(sizes, key=lambda size: cost_of(size).activation_bytes)
    given = limits.model_dump(exclude_none=True)
    told = " and ".join(f"{count:,} {name}" for name, count in given.items())
    return InvalidSpecError(
        f"no size of {sizes[0].networks[0].architecture.told} keeps limits of {told}: the fewest "
        f"macs are {cost_of(fewest).macs:,} ({fewest.base[0].architecture.told}), the fewest "
        f"activation_bytes {cost_of(smallest).activation_bytes:,} "
        f"({smallest.base[0].architecture.told}); raise the limits, or ask for a smaller network",
        field="/limits",
    )


def spread(sizes: Sequence[PlanningProblem]) -> tuple[PlanningProblem, ...]:
    """Return at most `MAX_SIZES` sizes, in their order, spread over multiply-adds.

    The first is kept; each next one is that whose multiply-adds are the furthest, by their ratio,
    from those of all that are kept; of equal ones the earlier.

    Args:
        sizes: at least one.
    """
    places = [math.log(max(1, cost_of(size).macs)) for size in sizes]
    kept = [0]
    while len(kept) < min(MAX_SIZES, len(sizes)):
        left = [index for index in range(len(sizes)) if index not in kept]
        kept.append(max(left, key=lambda i: (min(abs(places[i] - places[k]) for k in kept), -i)))
    return tuple(sizes[index] for index in sorted(kept))
