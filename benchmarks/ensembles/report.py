"""The tables of `benchmarks.ensemble`."""

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.ensembles.arms import ARMS, EARLY_EXIT, SHARED
from benchmarks.ensembles.measures import (
    SCORES,
    ladder_points,
    mean_between,
    subset_points,
)
from benchmarks.ensembles.stored import Measure, Stored
from benchmarks.scores import score
from benchmarks.timing import table

Record = dict[str, Any]
_ACCURACY = SCORES[0]


def scores_table(stored: Stored, configuration: str) -> str:
    """Return how good every arm is."""
    rows = []
    for arm in stored.arms(configuration):
        found = stored.of(configuration, arm)
        sizes = {record["parameters"] for record in found}
        title = ARMS[arm].title
        if lost := stored.diverged(configuration, arm):
            title += f" ({lost} diverged)"
        cells = [each.text(stored.score(configuration, arm, each.of)) for each in SCORES]
        count = f"{max(sizes):,}" if sizes else "-"
        rows.append([title, str(len(found)), count, *cells])
    return table(["", "seeds", "parameters", *(each.title for each in SCORES)], rows)


def differences_table(stored: Stored, configuration: str, arm: str) -> str:
    """Return the lead of an arm over all others, paired by seed."""
    rows = []
    for other in stored.arms(configuration):
        if other != arm:
            found = [stored.difference(configuration, arm, other, each.of) for each in SCORES]
            texts = [c.text(f, signed=True) for c, f in zip(SCORES, found, strict=True)]
            rows.append([ARMS[other].title, *texts])
    return table([f"{ARMS[arm].title} less ...", *(each.title for each in SCORES)], rows)


def costs_table(stored: Stored, configuration: str) -> str:
    """Return what the arms cost to train and to ask, means over seeds."""
    rows = []
    for arm in stored.arms(configuration):
        found = stored.of(configuration, arm)
        if not found:
            continue
        used = statistics.fmean(r["parameters"] / r["budget"] for r in found)
        trained, asked, seconds = (
            statistics.fmean(r[key] for r in found)
            for key in ("train_macs", "macs", "cpu_seconds")
        )
        rows.append(
            [
                ARMS[arm].title,
                f"{100 * used:.1f} %",
                f"{trained / 1e9:,.0f}",
                f"{seconds:,.0f}",
                f"{asked / 1e6:,.1f}",
                _members(found),
                _disagreement(found),
            ]
        )
    header = ["", "of the budget", "training, 10^9", "training, s", "one image, 10^6"]
    return table([*header, "accuracy of the members, %", "disagreement, %"], rows)


def _members(found: Sequence[Record]) -> str:
    """Return the accuracy of each member alone, mean over seeds."""
    alone = [
        [each["accuracy"] for each in record["subsets"] if len(each["members"]) == 1]
        for record in found
    ]
    return ", ".join(f"{100 * statistics.fmean(each):.1f}" for each in zip(*alone, strict=True))


def _disagreement(found: Sequence[Record]) -> str:
    values = [r["disagreement"] for r in found if r["disagreement"] is not None]
    return f"{100 * statistics.fmean(values):.1f}" if values else "-"


_WAYS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("the best subset for each cost", "subsets", tuple(ARMS)),
    ("asked one after another", "ladder", tuple(ARMS)),
    ("by size alone", "by_size", SHARED),
)
"""What is had for a cost, and of which arms it is told."""


def anytime_table(stored: Stored, configuration: str, reference: str) -> str:
    """Return mean accuracies over costs, and what the reference leads by, paired by seed.

    Costs go from the cheapest member of the reference, or from the first answer of another arm
    where that is dearer, to all members of the reference.

    Args:
        stored: the records.
        configuration: of which.
        reference: an arm, whose best subsets all others are compared with.
    """
    wanted = (*SHARED, "separate-narrow", EARLY_EXIT, "separate-full")
    arms = [arm for arm in wanted if stored.of(configuration, arm)]
    low, high = _range(stored, configuration, reference, arms)
    base: tuple[str, Measure] = (reference, _mean("subsets", low, high))
    rows = []
    for arm in arms:
        for title, way, allowed in _WAYS:
            if arm not in allowed or (arm == EARLY_EXIT and way != "subsets"):
                continue
            measure = _mean(way, low, high)
            found = stored.score(configuration, arm, measure)
            lead = stored.difference_of(configuration, base, (arm, measure))
            is_base = (arm, way) == (reference, "subsets")
            lead_text = "-" if is_base else _ACCURACY.text(lead, signed=True)
            rows.append([f"{ARMS[arm].title}: {title}", _ACCURACY.text(found), lead_text])
    costs = f"mean accuracy, %, {low / 1e6:.1f} to {high / 1e6:.1f} million multiply-adds"
    return table(["", costs, f"{ARMS[reference].title}, best subsets, less this"], rows)


def _points(record: Record, way: str) -> list[tuple[float, float]]:
    return subset_points(record) if way == "subsets" else ladder_points(record, way)


def _mean(way: str, low: float, high: float) -> Measure:
    return lambda record: mean_between(_points(record, way), low, high)


def _range(
    stored: Stored, configuration: str, reference: str, arms: Sequence[str]
) -> tuple[float, float]:
    firsts = [
        _points(record, way)[0][0]
        for arm in arms
        for record in stored.of(configuration, arm)
        for _, way, allowed in _WAYS
        if arm in allowed
    ]
    whole = stored.of(configuration, reference)[0]["macs"]
    return max(firsts), float(whole)


def stops_table(stored: Stored, configuration: str) -> str:
    """Return what stopping at a confidence comes to, chosen on images held out."""
    rows = []
    for arm in stored.arms(configuration):
        found = [r for r in stored.of(configuration, arm) if r["anytime"]["stopped"]]
        if not found:
            continue
        ends = [(r["anytime"]["stopped"], r["anytime"]["ladder"][-1]) for r in found]
        share = statistics.fmean(s["macs"] / whole["macs"] for s, whole in ends)
        change = score([s["accuracy"] - whole["accuracy"] for s, whole in ends])
        thresholds = statistics.fmean(r["anytime"]["threshold"] for r in found)
        cells = [f"{thresholds:.2f}", f"{100 * share:.0f} %", _ACCURACY.text(change, signed=True)]
        rows.append([ARMS[arm].title, str(len(found)), *cells])
    return table(["", "seeds", "threshold", "of the multiply-adds", "accuracy, points"], rows)


def _heading(stored: Stored) -> str:
    about = stored.setting
    data, training = about["dataset"], about["training"]
    images = f"the first {data['train_images']:,} images" if data["train_images"] else "all images"
    tested = f"the first {data['test_images']:,}" if data["test_images"] else "all"
    pixels = {
        n["architecture"]["input_size"]
        for each in about["configurations"].values()
        for n in each["networks"]
    }
    versions = sorted({r["versions"]["torch"] for r in stored.records})
    devices = sorted({r["device"] for r in stored.records})
    return (
        f"{images} of the training set, read at {pixels.pop()} pixels, {training['epochs']} "
        f"epochs, batch {training['batch_size']}, learning rate {training['learning_rate']:g} "
        f"({training['schedule']}), the last epoch on {tested} test images; the last "
        f"{about['held_out']:,} training images are held out by all arms, for choices; "
        f"corrupted: 15 corruptions at 5 severities of the first {about['corrupted']:,} test "
        f"images. Intervals are 95 %, by Student's t over seeds, none where there is one; bold "
        f"where they leave zero out. {', '.join(devices)}, torch {', '.join(versions)}."
    )


def section(stored: Stored, name: str, picture: str) -> str:
    """Return a setting's part of the page.

    Args:
        stored: its records.
        name: of the setting.
        picture: path of the plot, as the page links it.
    """
    parts = [f"### {name}", _heading(stored)]
    parts.append(f"![accuracy over parameters and cost]({picture})")
    for configuration in stored.configurations:
        parts += _part(stored, configuration)
    return "\n\n".join(parts)


def _part(stored: Stored, name: str) -> list[str]:
    """Return the paragraphs and tables of a configuration."""
    about = stored.setting["configurations"][name]
    networks = [
        f"{n['architecture']['name']} x {n['architecture']['options'].get('scale', 1):g}"
        for n in about["networks"]
    ]
    parts = [
        f"#### {about['title']}: {', '.join(networks)}",
        f"One bank of {100 * about['fraction']:.4g} % of their summed dense size. Of early exits "
        "the last answers.",
        scores_table(stored, name),
    ]
    shared = [arm for arm in SHARED if stored.of(name, arm)]
    if shared:
        parts.append("Paired by seed; percentages in points:")
    parts += [differences_table(stored, name, arm) for arm in shared]
    parts += ["Multiply-adds, and seconds of a processor, of all members together:"]
    parts.append(costs_table(stored, name))
    if shared:
        parts += ["What is had before all have answered, chosen on images held out:"]
        parts.append(anytime_table(stored, name, shared[-1]))
    parts += [
        "Stopping at a confidence that cost nothing on images held out, against all rungs:",
        stops_table(stored, name),
    ]
    return parts
