"""Tables and curves of the runs that `benchmarks.shortest_path` stored."""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from npas.artifacts import _plot
from npas.artifacts._svg import AXIS, COLOURS, WIDTH

from benchmarks.scores import Score, score
from benchmarks.timing import table, write_section

Record = dict[str, Any]
Measure = Callable[[Record], Sequence[float]]
"""A run -> one number for each phase."""

STEPS = "steps.json"
"""File of what one step does, beside the folders of runs."""

FIRST_EPOCHS = 3
"""Epochs after a phase begins over which F1 is averaged to tell who adapts faster."""

_PLAIN = "CNN"  # what the others are compared with


class Runs:
    """The runs of one size, by network and seed."""

    def __init__(self, folder: Path) -> None:
        """Read them all."""
        self.by_network: dict[str, dict[int, Record]] = defaultdict(dict)
        records = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
        for record in sorted(records, key=lambda record: len(record["network"])):
            self.by_network[record["network"]][record["seed"]] = record
        self.setting: Record = next(iter(next(iter(self.by_network.values())).values()))["setting"]
        self.phases = range(1, len(self.setting["extents"]) + 1)

    def scores(self, network: str, measure: Measure) -> list[Score]:
        """Return mean and interval over seeds, one for each number of the measure."""
        return _scores([measure(run) for run in self.by_network[network].values()])

    def gains(self, network: str, measure: Measure) -> list[Score]:
        """Return the same of the difference to the network that shares nothing, seed by seed."""
        plain, own = self.by_network[_PLAIN], self.by_network[network]
        pairs = [(measure(own[s]), measure(plain[s])) for s in own if s in plain]
        return _scores([[a - b for a, b in zip(*pair, strict=True)] for pair in pairs])


def _scores(rows: Sequence[Sequence[float]]) -> list[Score]:
    return [found for column in zip(*rows, strict=True) if (found := score(column))]


def adapting(run: Record) -> list[float]:
    """Return F1 on held-out grids over the first epochs of each phase, then over all changes."""
    return _first_epochs(run, "f1")


def learning(run: Record) -> list[float]:
    """Return the same of the grids being trained on, each before the step that learns from it.

    It varies less than F1 on held-out grids, which hangs on the norms' running statistics.
    """
    return _first_epochs(run, "train_f1")


def _first_epochs(run: Record, name: str) -> list[float]:
    by_phase: dict[int, list[float]] = defaultdict(list)
    for row in run["epochs"]:
        if row["epoch"] <= FIRST_EPOCHS:
            by_phase[row["phase"]].append(row[name])
    means = [sum(values) / len(values) for _, values in sorted(by_phase.items())]
    return [*means, sum(means[1:]) / len(means[1:])]


def ending(run: Record) -> list[float]:
    """Return F1 at the end of each phase, then the mean of all but the first."""
    ends = [row[index] for index, row in enumerate(run["f1_after_phase"])]
    return [*ends, sum(ends[1:]) / len(ends[1:])]


def hardest(run: Record) -> list[float]:
    """Return F1 on the hardest phase after each phase before it."""
    return [row[-1] for row in run["f1_after_phase"][:-1]]


def arriving(run: Record) -> list[float]:
    """Return F1 on each phase but the first before it is trained on, then the mean."""
    before = run["f1_before_phase"][1:]
    return [*before, sum(before) / len(before)]


def _table(runs: Runs, measure: Measure, columns: Sequence[str]) -> str:
    rows = [
        [network, *(found.text() for found in runs.scores(network, measure))]
        for network in runs.by_network
    ]
    for network in others(runs):
        gains = runs.gains(network, measure)
        rows.append([f"{network} less {_PLAIN}", *(found.text(signed=True) for found in gains)])
    return table(["", *columns], rows)


def _similarity(runs: Runs) -> str:
    rows = []
    for network, seeds in runs.by_network.items():
        of_seeds = [run["layer_similarity_after_phase"] for run in seeds.values()]
        if all(None not in each for each in of_seeds):
            means = [f"{found.mean:.2f}" for found in _scores(of_seeds)]
            rows.append([network, *means])
    return table(["", *(f"phase {phase}" for phase in runs.phases)], rows)


def others(runs: Runs) -> list[str]:
    """Return the networks that can be compared with the one that shares nothing."""
    plain = runs.by_network.get(_PLAIN, {})
    return [n for n, seeds in runs.by_network.items() if n != _PLAIN and plain.keys() & seeds]


def verdict(runs: Runs) -> str:
    """Return in words who adapts faster, and how sure that is."""
    said = []
    for network in others(runs):
        gain = runs.gains(network, learning)[-1]
        word = "no clear difference"
        if gain.is_clear:
            word = "faster" if gain.mean > 0 else "slower"
        said.append(
            f"* {network} against {_PLAIN} after a change of phase: {word} to adapt "
            f"({gain.text(signed=True)} points of F1 while learning, {gain.count} pairs of runs)."
        )
    return "\n".join(said)


def summary(sizes: dict[str, Runs]) -> str:
    """Return a table of all sizes: what sharing adds over all changes of phase."""
    rows = []
    for name, runs in sizes.items():
        for network in others(runs):
            gains = [
                runs.gains(network, measure)[-1]
                for measure in (learning, adapting, ending, arriving)
            ]
            texts = (gain.text(signed=True) for gain in gains)
            rows.append([name, network, str(gains[0].count), *texts])
    header = ["size", f"less {_PLAIN}", "pairs", f"learning, first {FIRST_EPOCHS} epochs"]
    header += [f"held out, first {FIRST_EPOCHS} epochs", "end of phase", "before the phase"]
    return table(header, rows)


def _section(name: str, runs: Runs, picture: str) -> str:
    names = [f"phase {phase}" for phase in runs.phases]
    return "\n\n".join(
        [
            f"### {name}",
            f"![F1 of each network over the epochs of all phases]({picture})",
            verdict(runs),
            f"F1 while learning over the first {FIRST_EPOCHS} epochs of a phase, percent:",
            _table(runs, learning, [*names, "mean of 2 on"]),
            f"F1 on held-out grids after each of the first {FIRST_EPOCHS} epochs:",
            _table(runs, adapting, [*names, "mean of 2 on"]),
            "F1 on held-out grids at the end of a phase:",
            _table(runs, ending, [*names, "mean of 2 on"]),
            "Extrapolation: F1 on a phase before any of its grids was trained on,",
            _table(runs, arriving, [*names[1:], "mean"]),
            f"and on the hardest phase, {runs.phases[-1]}, after each phase before it:",
            _table(runs, hardest, [f"after {phase}" for phase in names[:-1]]),
            "Mean similarity of two layers' coefficients (1: all layers are one layer, repeated):",
            _similarity(runs),
        ]
    )


def curves_svg(runs: Runs, title: str) -> str:
    """Draw F1 over all epochs: the mean over seeds, and from the worst seed to the best.

    Args:
        runs: of one size.
        title: one line.

    Returns:
        a whole SVG document, 960 pixels wide.
    """
    epochs, total = runs.setting["epochs"], len(runs.phases) * runs.setting["epochs"]
    with _plot.look():
        figure = _plot.figure(WIDTH, 480, title)
        panel = figure.subplots()
        for index, (network, seeds) in enumerate(runs.by_network.items()):
            curves = [[row["f1"] for row in run["epochs"]] for run in seeds.values()]
            of_epochs = list(zip(*curves, strict=True))
            middles = [n + 0.5 for n in range(len(of_epochs))]
            worst, best = ([pick(each) for each in of_epochs] for pick in (min, max))
            colour = COLOURS[index]
            panel.fill_between(middles, worst, best, color=colour, alpha=0.15, lw=0)
            means = [sum(each) / len(each) for each in of_epochs]
            label = f"{network} ({len(seeds)} seeds)"
            panel.plot(middles, means, color=colour, label=label, gid=network)
        for phase in runs.phases:
            panel.axvline((phase - 1) * epochs, color=AXIS, linestyle=(0, (4, 4)), lw=0.8)
        labels = zip(runs.phases, runs.setting["extents"], strict=True)
        panel.set_xticks(
            [(phase - 0.5) * epochs for phase in runs.phases],
            [f"phase {phase}: {extent} x {extent}" for phase, extent in labels],
        )
        panel.tick_params(axis="x", length=0)
        panel.set_xlim(0, total)
        panel.set_ylim(0, 1)
        panel.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g} %")
        panel.set_xlabel(
            f"F1 on held-out grids of the phase, {total} epochs; bands from worst to best seed"
        )
        panel.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4)
        return _plot.svg(figure)


def report(store: Path, page: Path) -> None:
    """Write a summary of all sizes, and tables and curves of those with several pairs of runs."""
    folders = sorted({path.parent for path in store.glob("*/*.json")})
    sizes = {folder.name: Runs(folder) for folder in folders}
    settings = [f"* {_setting(name, runs)}" for name, runs in sizes.items()]
    parts = ["\n".join(settings), "Points of F1, means over all changes of phase:", summary(sizes)]
    for name, runs in sizes.items():
        if max((runs.gains(n, learning)[0].count for n in others(runs)), default=0) > 1:
            picture = page.parent / "images" / f"shortest-path-{name}.svg"
            picture.write_text(curves_svg(runs, f"Shortest paths, {name} size: F1"))
            parts.append(_section(name, runs, f"images/{picture.name}"))
    if (store / STEPS).exists():
        parts.append(_steps(json.loads((store / STEPS).read_text())["moves"]))
    write_section(page, "shortest-path", "\n\n".join(parts))


def _setting(name: str, runs: Runs) -> str:
    about = runs.setting
    windows = ", ".join(str(extent) for extent in about["extents"])
    sizes = {n: next(iter(seeds.values()))["parameters"] for n, seeds in runs.by_network.items()}
    return (
        f"{name}: {about['architecture']} on grids of {about['grid']} x {about['grid']}, windows "
        f"of {windows} cells, {about['num_train']:,} grids and {about['epochs']} epochs a phase, "
        f"batches of {about['batch_size']}, Adam at {about['learning_rate']:g}; "
        + ", ".join(f"{n} {count:,} parameters" for n, count in sizes.items())
    )


def _steps(moves: dict[str, list[float]]) -> str:
    epochs = range(1, len(next(iter(moves.values()))) + 1)
    rows = [[n, *(f"{100 * m:.2f} %" for m in means)] for n, means in moves.items()]
    return "\n\n".join(
        [
            "### What one step does",
            "How far one optimiser step moves a 3x3 weight, over its length: means over the steps "
            "of each of the first epochs, small size.",
            table(["", *(f"epoch {epoch}" for epoch in epochs)], rows),
        ]
    )
