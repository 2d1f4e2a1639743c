"""What can be had before all members have answered: chosen on images held out, told of the test.

`anytime_of` needs nothing but what the members said (`Kept`), so that another way to choose can
be tried on the files of the work folder.
"""

from collections.abc import Sequence
from typing import Any

from npas.ensembles.choosing import chosen, threshold_of
from npas.ensembles.course import Climb, Reached
from npas.ensembles.ladder import Ladder, Rung, by_cost

from benchmarks.ensembles.kept import Kept

Record = dict[str, Any]

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Confidences to stop at, in the curve of cost and accuracy: the same for all arms."""


def anytime_of(kept: Kept, *, is_cascade: bool = False) -> Record:
    """Return what ladders come to on the test set: points of cost, accuracy and NLL.

    Args:
        kept: of one cell.
        is_cascade: each member contains the ones before it, as exits do: they are asked in their
            order, the last one answers, and each costs what it adds.

    Returns:
        `ladder`: the one chosen on the held-out images; `by_size`: from cheap to dear, all of
        those asked answer; `threshold` and `stopped`: where images stop by the threshold chosen
        on the held-out images; `stops`: for each of THRESHOLDS.
    """
    macs = dict(kept.macs)
    if is_cascade:
        macs, by_size = _increments(kept.macs), _in_turn(kept.test.names)
        ladder = by_size.model_copy(
            update={"threshold": threshold_of(by_size, kept.held_out, macs)}
        )
    else:
        by_size = by_cost(macs)
        ladder = chosen(kept.held_out, macs)
    climb, threshold = Climb(ladder, kept.test, macs), ladder.threshold
    found: Record = {
        "ladder": _points(climb.reached),
        "by_size": _points(Climb(by_size, kept.test, macs).reached),
        "rungs": [rung.model_dump(mode="json") for rung in ladder.rungs],
        "threshold": threshold,
        "stopped": None,
        "stops": _points([climb.stopped(each) for each in THRESHOLDS]),
    }
    if threshold is not None:
        found["stopped"] = _points([climb.stopped(threshold)])[0]
    return found


def _points(reached: Sequence[Reached]) -> list[Record]:
    return [
        {"macs": each.macs, "accuracy": each.scores.accuracy, "nll": each.scores.nll}
        for each in reached
    ]


def _increments(macs: dict[str, int]) -> dict[str, int]:
    before, found = 0, {}
    for name, whole in macs.items():
        found[name], before = max(0, whole - before), max(before, whole)
    return found


def _in_turn(names: Sequence[str]) -> Ladder:
    return Ladder(rungs=tuple(Rung(network=name, answering=(name,)) for name in names))
