"""What is known of candidates before anything is trained: whole trainings of other networks.

`known_losses.json` has the loss on test images of every method that was tried, on some networks
and datasets, at some budgets. The cells are not those that results are reported on. A new network
is like one of the cells: leads over the reference differ from cell to cell, normal with unknown
mean and variance, which have the usual conjugate prior (normal, inverse gamma; Gelman et al.,
"Bayesian Data Analysis", 3rd edition, section 3.3), so that few cells leave a wide belief, and
none a wider one. Cells of another family of networks or another budget count less, as data of
other studies do in a power prior (Ibrahim & Chen, "Power Prior Distributions for Regression
Models", 2000). The Student distribution that this gives is taken as a normal one of its variance.
"""

import functools
import json
import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from npas import arch, methods
from npas.planning.problem import PlanningProblem
from npas.planning.verdict import Belief, entrants
from npas.spec import MethodSpec

KNOWN = Path(__file__).with_name("known_losses.json")
"""Written by `python -m benchmarks.known_losses`."""

OTHER_FAMILY = 0.5
"""What a cell of another family of networks counts."""

OTHER_OPTIONS = 0.5
"""What a cell counts where the method was tried with other options alone."""

MEAN_COUNTS = 0.5
"""Cells that "no better than the reference" counts as."""

SPREAD_COUNTS = 4.0
"""Cells that the spread of all methods counts as."""

LEAST_DOUBLINGS = 0.5
"""Doublings of multiply-adds that another size counts as at least: it has another shape, too."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Sized(_Part):
    """What a method came to on a larger or smaller network.

    Attributes:
        method: see `name_of`.
        doublings: logarithm to base 2 of its multiply-adds over those of the cell's network.
        loss: on the test images, nats, mean over seeds.
    """

    method: str
    doublings: float
    loss: float


class KnownCell(_Part):
    """A network, a dataset and a budget.

    Attributes:
        network: name of the architecture.
        family: of the network.
        dataset: name.
        fraction: budget as a part of the dense size.
        epochs: of each training.
        losses: of the test images, nats, mean over seeds, by method, see `name_of`.
        sized: the same budget on networks of other sizes.
    """

    network: str
    family: str
    dataset: str
    fraction: float
    epochs: int
    losses: dict[str, float]
    sized: tuple[Sized, ...] = ()


class KnownLosses(_Part):
    """All cells.

    Attributes:
        noise: deviation of the lead of one method over another from seed to seed, nats.
        spread: deviation of such a lead from cell to cell, nats; median over pairs of methods.
        cells: at least one.
    """

    noise: float
    spread: float
    cells: tuple[KnownCell, ...]


@functools.cache
def known_losses() -> KnownLosses:
    """Return what is known; it comes along with the library."""
    return KnownLosses.model_validate_json(KNOWN.read_text())


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a lead is asked for.

    Attributes:
        family: of the networks; None where there are several.
        fraction: budget as a part of the dense size, above 0.
    """

    family: str | None
    fraction: float

    @classmethod
    def of(cls, problem: PlanningProblem, *, budget: int) -> "Place":
        """Return the place of a problem.

        Args:
            problem: of the networks that were asked for.
            budget: in parameters.
        """
        families = {arch.family_name(each.architecture) for each in problem.networks}
        dense = problem.whole(problem.networks).dense
        family = families.pop() if len(families) == 1 else None
        return cls(family=family, fraction=max(1, budget) / dense)

    def weight(self, cell: KnownCell) -> float:
        """Return what a cell counts: half of it for each doubling between the budgets."""
        near = 2 ** -abs(math.log2(self.fraction / cell.fraction))
        return near if cell.family == self.family else near * OTHER_FAMILY


@dataclass(frozen=True, kw_only=True, slots=True)
class Rival:
    """A candidate, as far as it matters for what is known of it.

    Attributes:
        method: with its options.
        macs: multiply-adds of its network for one image, where sizes differ; else None.
    """

    method: MethodSpec
    macs: int | None = None


def name_of(method: MethodSpec) -> str:
    """Return a method's name with the options that are not the method's defaults.

    Raises:
        UnknownNameError: no such method.
        InvalidSpecError: an option that it does not have, or a value that is not allowed.
    """
    options = methods.checked_options(methods.find(method.name), method)
    given = options.model_dump(mode="json", exclude_defaults=True)
    return f"{method.name} {json.dumps(given, sort_keys=True)}" if given else method.name


def before_racing(rivals: Sequence[Rival], place: Place) -> list[Belief]:
    """Return what is known of the lead of each candidate over the first, which is left out.

    Args:
        rivals: at least one; the first is the reference.
        place: network and budget.
    """
    reference, *others = rivals
    return [_known(each, reference, place) for each in others]


def racing(rivals: Sequence[Rival], place: Place) -> list[int]:
    """Return the candidates that are worth a short training, the reference first.

    Args:
        rivals: at least one; the first is the reference.
        place: network and budget.
    """
    return [0, *(1 + index for index in entrants(before_racing(rivals, place)))]


def _known(rival: Rival, reference: Rival, place: Place) -> Belief:
    method, other = name_of(rival.method), name_of(reference.method)
    of_method = None if method == other else _like(place, _method_leads(method, other))
    of_size = _of_size(rival, reference, place)
    if of_method is None or of_size is None:
        found = of_method or of_size
        return found or _like(place, ())  # what makes it another candidate is not known of
    return of_method.plus(of_size)


def _of_size(rival: Rival, reference: Rival, place: Place) -> Belief | None:
    """Return what is known of another size; None where the network is the same.

    A method that sets the width itself is known by what it makes of the network.
    """
    is_same = rival.macs == reference.macs or methods.sets_networks(rival.method.name)
    if is_same or rival.macs is None or reference.macs is None:
        return None
    doublings = math.log2(rival.macs / reference.macs)
    slope = _like(place, _size_leads())
    least = math.copysign(max(LEAST_DOUBLINGS, abs(doublings)), doublings)
    return Belief(lead=slope.lead * doublings, error=slope.error * abs(least))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Lead:
    """A lead in a cell, and what it counts beside the place of the cell."""

    cell: KnownCell
    lead: float
    counts: float = 1.0


def _loss(cell: KnownCell, method: str) -> tuple[float, float] | None:
    """Return what a method came to in a cell, and what that counts; None where it was not tried.

    Where it was tried with other options alone, it is their mean.
    """
    if method in cell.losses:
        return cell.losses[method], 1.0
    bare = method.partition(" ")[0]
    alike = [loss for name, loss in cell.losses.items() if name.partition(" ")[0] == bare]
    return (statistics.fmean(alike), OTHER_OPTIONS) if alike else None


def _method_leads(method: str, other: str) -> Iterator[_Lead]:
    """Yield the leads of one method over another, where both were tried."""
    for cell in known_losses().cells:
        mine, theirs = _loss(cell, method), _loss(cell, other)
        if mine is not None and theirs is not None:
            yield _Lead(cell=cell, lead=theirs[0] - mine[0], counts=mine[1] * theirs[1])


def _size_leads() -> Iterator[_Lead]:
    """Yield the leads of larger networks over the cell's, for each doubling of multiply-adds."""
    for cell in known_losses().cells:
        for each in cell.sized:
            if each.method in cell.losses:
                gain = cell.losses[each.method] - each.loss
                yield _Lead(cell=cell, lead=gain / each.doublings)


def _like(place: Place, leads: Iterable[_Lead]) -> Belief:
    """Return what leads elsewhere say of one here: the predictive distribution of a new cell."""
    weighted = [(each.counts * place.weight(each.cell), each.lead) for each in leads]
    count = sum(weight for weight, _ in weighted)
    mean = sum(weight * lead for weight, lead in weighted) / count if count else 0.0
    squares = sum(weight * (lead - mean) ** 2 for weight, lead in weighted)
    of_mean, of_spread = MEAN_COUNTS + count, SPREAD_COUNTS + count
    pulled = MEAN_COUNTS * count / of_mean * mean**2
    scale = (SPREAD_COUNTS * known_losses().spread ** 2 + squares + pulled) / of_spread
    variance = scale * (1 + 1 / of_mean) * of_spread / (of_spread - 2)
    return Belief(lead=count * mean / of_mean, error=math.sqrt(variance))
