"""Which ladder is best, by what the networks say of images that they were not trained on."""

import itertools
import math
from collections.abc import Mapping, Sequence

from npas.ensembles.course import Climb
from npas.ensembles.ladder import Ladder, Rung
from npas.ensembles.predictions import Predictions
from npas.ensembles.scores import score

_ALL_ORDERS = 6
"""Networks up to which every order is tried, and every choice of networks to leave out."""

_HORIZON = 2
"""Up to how many times the cost of all networks answers count: the last one as much as the way."""

_THRESHOLDS = 200
"""Thresholds that are tried: as many quantiles of the confidences that were seen."""


def chosen(held_out: Predictions, macs: Mapping[str, int]) -> Ladder:
    """Return the ladder with the least NLL, mean over costs up to twice that of all networks.

    Before the first answer the NLL is that of a guess. Of up to six networks all orders are tried,
    of more the one that at each rung takes most off the NLL for each multiply-add. After each
    network it answers alone, or with those that answered before it, whichever is better; one that
    makes no better answer is left out. The threshold is the one that asks least, of those that
    cost no accuracy.

    Args:
        held_out: what the networks say of images that they were not trained on.
        macs: multiply-adds of each network, for one image.
    """
    search = _Search(held_out, macs)
    names = held_out.names
    if len(names) <= _ALL_ORDERS:
        orders = [
            order for n in range(1, len(names) + 1) for order in itertools.permutations(names, n)
        ]
        rungs = min((search.rungs(order) for order in orders), key=search.mean_nll)
    else:
        rungs = search.greedy()
    ladder = Ladder(rungs=tuple(rungs))
    return ladder.model_copy(update={"threshold": threshold_of(ladder, held_out, macs)})


class _Search:
    """Looks for rungs; the NLL of a set of networks is computed once."""

    def __init__(self, held_out: Predictions, macs: Mapping[str, int]) -> None:
        self._held_out, self._macs = held_out, macs
        self._known: dict[frozenset[str], float] = {}
        self._guess = math.log(next(iter(held_out.log_p.values())).shape[1])

    def nll(self, names: Sequence[str]) -> float:
        key = frozenset(names)
        if key not in self._known:
            in_order = [name for name in self._held_out.names if name in key]
            found = score(self._held_out.together(in_order), self._held_out.labels)
            self._known[key] = found.nll
        return self._known[key]

    def rungs(self, order: Sequence[str]) -> list[Rung]:
        """Return the rungs of an order, without networks that make no better answer."""
        found: list[Rung] = []
        for name in order:
            found += self._next(found, name)
        return found

    def _next(self, before: Sequence[Rung], name: str) -> list[Rung]:
        last = before[-1].answering if before else ()
        best = min(((*last, name), (name,)), key=self.nll)
        if last and self.nll(last) <= self.nll(best):
            return []
        return [Rung(network=name, answering=best)]

    def mean_nll(self, rungs: Sequence[Rung]) -> float:
        """Return the mean NLL over costs from none to `_HORIZON` times that of all networks."""
        end, spent, nll, total = _HORIZON * sum(self._macs.values()), 0, self._guess, 0.0
        for rung in rungs:
            total += nll * self._macs[rung.network]
            spent, nll = spent + self._macs[rung.network], self.nll(rung.answering)
        return (total + nll * (end - spent)) / max(end, 1)

    def greedy(self) -> list[Rung]:
        found: list[Rung] = []
        while True:
            before = self.nll(found[-1].answering) if found else self._guess
            left = [n for n in self._held_out.names if n not in [r.network for r in found]]
            offers = [offer for name in left for offer in self._next(found, name)]
            if not offers:
                return found
            found.append(
                max(
                    offers,
                    key=lambda rung: (
                        (before - self.nll(rung.answering)) / max(self._macs[rung.network], 1)
                    ),
                )
            )


def threshold_of(ladder: Ladder, held_out: Predictions, macs: Mapping[str, int]) -> float | None:
    """Return the confidence to stop at that asks least and costs no accuracy; None: there is none.

    Accuracy on the held-out images is at least that of the whole ladder.

    Args:
        ladder: to go up; its own threshold does not count.
        held_out: what its networks say of images that they were not trained on.
        macs: multiply-adds of each network, for one image; of exits, what each adds.
    """
    climb = Climb(ladder, held_out, macs)
    whole, parts = climb.reached[-1], [place / _THRESHOLDS for place in range(_THRESHOLDS)]
    tried = sorted({float(climb.confidences[0].quantile(part)) for part in parts})
    found = [(climb.stopped(each), each) for each in tried]
    good = [
        (each.macs, threshold)
        for each, threshold in found
        if each.scores.accuracy >= whole.scores.accuracy
    ]
    macs_spent, threshold = min(good, default=(whole.macs, 1.0))
    return threshold if macs_spent < whole.macs else None
