"""What a block is worth that is used r times: r to which power of unique blocks.

    python -m benchmarks.exponent run --jobs 2     # the runs that are missing
    python -m benchmarks.exponent report           # docs/results.md, from the stored runs

Dense residual networks of several depths say what a block more is worth: a line of the loss over
the logarithm of the number of blocks. A deep network that shares, with as many parameters as a
shallow dense one, has the loss of some depth on that line. Its n blocks' worth of parameters are
used r times; phi is log(blocks of that depth / n) / log(r): 1 where sharing is free, 0 where depth
without parameters is worth nothing. Source: "How Much Is One Recurrence Worth?", arXiv 2604.21106,
which has one block of a language model in a loop, 0.46.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from npas.spec import DatasetSpec

from benchmarks.arms import ARMS, DENSE, SMALL, Cell, Setting, dense_size
from benchmarks.methods import run_missing
from benchmarks.scores import Stored, score
from benchmarks.stored_runs import PAGE, ROOT, command_line, end_as_by_ctrl_c, place_of
from benchmarks.timing import table, write_section

STORE = ROOT / "benchmarks" / "records" / "exponent"
DEPTHS = (8, 14, 20, 26)
"""Of dense networks; the deepest one shares as well, with the parameters of each of the others."""

METHODS = ("soft_sharing", "superweights", "uniform", "random")
SIZES = {"small": (20_000, 3), "tiny": (64, 1)}
"""Training images, epochs; the tiny one is for tests."""

Losses = Mapping[int, float]
"""Negative log likelihood of the test images, by seed."""


def blocks(depth: int) -> int:
    """Return the residual blocks of a network: three stages of two layers a block."""
    return (depth - 2) // 2


def setting(depth: int, size: str, dataset: str) -> Setting:
    """Return what all runs of one depth have in common."""
    images, epochs = SIZES[size]
    return Setting(
        name=f"resnet-{depth}",
        architecture={"name": f"resnet-{depth}", "input_size": 16},
        dataset=DatasetSpec(name=dataset, train_images=images, test_images=10_000),
        training=SMALL.model_copy(update={"epochs": epochs}),
    )


def exponent(dense: Mapping[int, float], depth: int, parameters_of: int, loss: float) -> float:
    """Return phi of one network that shares.

    Args:
        dense: loss of dense networks, by their depth; at least two depths.
        depth: of the network.
        parameters_of: depth of the dense network that has as many parameters.
        loss: of the network.
    """
    counts = [math.log(blocks(each)) for each in dense]
    slope, level = np.polyfit(counts, list(dense.values()), 1)
    worth = (loss - level) / slope
    unique = math.log(blocks(parameters_of))
    return float((worth - unique) / (math.log(blocks(depth)) - unique))


def measured(store: Path) -> str:
    """Return the table of what is stored: phi by method and parameters, the mean over seeds."""
    stored = {d: Stored.read(store / f"resnet-{d}") for d in DEPTHS}
    dense = {d: found.values(DENSE, 1.0, "nll") for d, found in stored.items()}
    deepest = DEPTHS[-1]
    budgets = dict(zip(DEPTHS, sorted(stored[deepest].budgets), strict=False))
    rows = [["dense, loss", *(_mean(dense[d]) for d in DEPTHS)]]
    for method in METHODS:
        cells = []
        for depth, budget in budgets.items():
            losses = stored[deepest].values(method, budget, "nll")
            cells.append(_mean(_exponents(dense, depth, losses)))
        rows.append([f"{ARMS[method].title}, phi", *cells, "-"])
    return table(["parameters of", *(f"resnet-{d}" for d in DEPTHS)], rows)


def _exponents(dense: Mapping[int, Losses], depth: int, losses: Losses) -> Losses:
    """Return phi of each seed that all dense networks have, too."""
    return {
        seed: exponent({d: each[seed] for d, each in dense.items()}, DEPTHS[-1], depth, loss)
        for seed, loss in losses.items()
        if all(seed in each for each in dense.values())
    }


def _mean(values: Mapping[int, float]) -> str:
    found = score(list(values.values()))
    if found is None:
        return "-"
    interval = "" if found.half is None else f" \N{PLUS-MINUS SIGN} {found.half:.2f}"
    return f"{found.mean:.2f}{interval}"


def cells(depth: int, seeds: Sequence[int], data: Path | None, of: Setting) -> list[Cell]:
    """Return the runs of a depth: dense, and of the deepest those that share.

    Args:
        depth: of the network.
        seeds: of the runs.
        data: where the dataset is.
        of: the setting of that depth.
    """
    found = [Cell(arm=DENSE, budget=1.0, seed=seed) for seed in seeds]
    if depth < DEPTHS[-1]:
        return found
    whole = dense_size(of, data)
    parts = [
        dense_size(replace(of, architecture={"name": f"resnet-{d}", "input_size": 16}), data)
        / whole
        for d in DEPTHS[:-1]
    ]
    return found + [
        Cell(arm=method, budget=part, seed=seed)
        for seed in seeds
        for part in parts
        for method in METHODS
    ]


def main() -> None:
    """Do what the command line says."""
    parser, _ = command_line(__doc__, "exponent", SIZES)
    args = parser.parse_args()
    if args.command == "report":
        write_section(PAGE, "exponent", measured(args.store))
        return
    end_as_by_ctrl_c()
    for depth in DEPTHS:
        chosen = setting(depth, args.size, args.dataset)
        wanted = cells(depth, range(args.seeds), args.data_folder, chosen)
        if not run_missing(chosen, wanted, place_of(args, chosen), args.jobs):
            return


if __name__ == "__main__":
    main()
