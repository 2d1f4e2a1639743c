"""Which of several candidates is better than a reference, by what was measured and known before.

All leads are losses of the reference less those of a candidate, nats for an image: above 0 the
candidate is better. What is believed of one is a normal distribution.

Whole trainings are judged by short ones. A candidate's lead over trainings of n epochs is taken as
`a + b ln(n / whole)`: `a` is its lead after the whole training, which is asked for, and `b` is how
leads drift, normal around 0 with deviation `DRIFT`. That is Bayesian linear regression, Bishop,
"Pattern Recognition and Machine Learning", 2006, section 3.3. Two kinds of noise are told apart:
another seed would have given another lead, at each length anew; other held-out images would have
given another lead, too, but these are the same at all lengths, so that their noise does not
average out.

The reference stays unless another's lead is beyond `Z` deviations. With many candidates the best
is ahead by luck; that is allowed for by what is believed before, which draws each towards 0
(Gelman, Hill & Yajima, "Why We (Usually) Don't Have to Worry About Multiple Comparisons", 2012),
and not by a larger `Z`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

Z = 1.645
"""Deviations that a lead must be beyond: where none is better, one of twenty would be by luck.

One-sided, since a candidate that is behind changes nothing. To miss a small lead costs little, and
to leave a method that is known to do well for one that was lucky costs as much as it is worse.
"""

DRIFT = 0.02
"""Deviation of how much a lead changes where trainings get e times as long, nats.

Leads after 1 and 2 of 8 epochs were 0.033 and 0.027 off those of the whole training, root mean
square over three cells of the development suite, which the noise of seeds alone explains: a drift
of 0.01 would hardly show, one of 0.02 would. The larger one is taken, as trainings may be longer.
"""

HOPELESS = 2.0
"""Deviations by which a candidate must be known to be behind, not to be tried."""

MOST_RACED = 16
"""Candidates of one race, the reference among them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Belief:
    """What is believed of a lead over the reference.

    Attributes:
        lead: mean, nats.
        error: standard deviation, nats; above 0.
    """

    lead: float
    error: float

    def plus(self, other: "Belief") -> "Belief":
        """Return what is believed of the sum of two independent leads."""
        return Belief(lead=self.lead + other.lead, error=math.hypot(self.error, other.error))

    def and_also(self, other: "Belief") -> "Belief":
        """Return what is believed after both: the product of two normal densities."""
        mine, theirs = self.error**-2, other.error**-2
        lead = (mine * self.lead + theirs * other.lead) / (mine + theirs)
        return Belief(lead=lead, error=(mine + theirs) ** -0.5)

    @property
    def hope(self) -> float:
        """How much better than the reference it can be expected to turn out, nats.

        That is the mean of the lead where what is below 0 counts as 0: the expected improvement
        of Jones, Schonlau & Welch, "Efficient Global Optimization of Expensive Black-Box
        Functions", 1998, equation 15.
        """
        normal, place = NormalDist(), self.lead / self.error
        return self.lead * normal.cdf(place) + self.error * normal.pdf(place)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A lead of one short training over the reference's.

    Attributes:
        epochs: of both.
        lead: mean over the held-out images, nats.
        error: standard error of that mean.
    """

    epochs: int
    lead: float
    error: float


def extrapolated(measured: Sequence[Measured], *, whole: int, noise: float) -> Belief:
    """Return what short trainings say of the lead after a whole one, whatever was known before.

    Args:
        measured: at least one, each of another length.
        whole: epochs of the whole training.
        noise: deviation of a lead from one seed to another, nats; above 0.
    """
    places = [math.log(each.epochs / whole) for each in measured]
    # The normal equations of (a, b), in units of the noise: each length counts as one.
    drift = (noise / DRIFT) ** 2 + sum(place**2 for place in places)
    both, count = sum(places), len(measured)
    determinant = count * drift - both**2
    leads = sum(each.lead for each in measured)
    tilted = sum(each.lead * place for each, place in zip(measured, places, strict=True))
    seeds = noise * math.sqrt(drift / determinant)
    return Belief(
        lead=(drift * leads - both * tilted) / determinant,
        error=math.hypot(seeds, max(each.error for each in measured)),
    )


def chosen(believed: Mapping[int, Belief]) -> int | None:
    """Return the candidate that is better than the reference; None: the reference stays.

    Args:
        believed: of each candidate but the reference, after all that was measured.
    """
    clear = [place for place, each in believed.items() if each.lead > Z * each.error]
    return min(clear, key=lambda place: (-believed[place].lead, place), default=None)


def entrants(known: Sequence[Belief]) -> list[int]:
    """Return the candidates that are worth a try, the most promising first, equal ones in order.

    At most `MOST_RACED` with the reference, which is not among them. Left out are those that are
    known to be behind by `HOPELESS` deviations.

    Args:
        known: of each candidate but the reference, before anything is measured.
    """
    open_ = [p for p, each in enumerate(known) if each.lead + HOPELESS * each.error >= 0]
    return sorted(open_, key=lambda place: (-known[place].hope, place))[: MOST_RACED - 1]
