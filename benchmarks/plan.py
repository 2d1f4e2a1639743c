"""Time to plan: named networks, and how it grows with the number of layers.

Run `python -m benchmarks.plan` (a minute); `--write` puts the tables into docs/benchmarks.md.
"""

import argparse
import math
import statistics
import time
from pathlib import Path

import npas
from npas import arch
from npas.methods import _nests
from npas.planning import planner
from npas.plans import blocks, windows
from npas.spec import BudgetSpec

from benchmarks.timing import machine, table, write_section

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
NETWORKS = ["wrn-28-10", "torchvision:resnet152", "torchvision:densenet201", "wrn-100-10"]
DEPTHS = [28, 52, 100, 196, 388]
METHODS = ["dense", "soft_sharing", "superweights"]
LOW = {"dense": 1.0, "soft_sharing": 0.8, "superweights": 0.5}
"""The lower of two budgets that are timed together, as a fraction of the dense size."""


def seconds(name: str, method: str, *, rounds: int = 7) -> float:
    """Return the median seconds of a whole plan: meta build, layer table, allocation."""
    taken = []
    for _ in range(rounds):
        pair = 0.0
        for fraction in (1.0, LOW[method]):
            forget()
            start = time.perf_counter()
            npas.plan(name, method=method, budget=BudgetSpec(fraction=fraction))
            pair += time.perf_counter() - start
        taken.append(pair / 2)
    return statistics.median(taken)


def forget() -> None:
    """Empty the library's caches, so that every plan is the first one of its network."""
    of_allocations = (blocks.all_added, blocks.sizes, windows.reading, _nests._cheapest_partition)
    for cached in (*of_allocations, arch._layer_table, planner._least):
        cached.cache_clear()


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables into the page")
    args = parser.parse_args()
    npas.plan("wrn-10-1", budget=1_000_000)  # imports are not planning
    named = [
        [name, *(f"{1e3 * seconds(name, method):.1f}" for method in METHODS)] for name in NETWORKS
    ]
    grown = {depth: seconds(f"wrn-{depth}-10", "superweights") for depth in DEPTHS}
    first, last = DEPTHS[0], DEPTHS[-1]
    exponent = math.log(grown[last] / grown[first]) / math.log(last / first)
    text = (
        f"{machine()}; milliseconds, medians.\n\n{table(['network', *METHODS], named)}\n\n"
        f"`superweights` over depth, {first} to {last} layers: time grows with the power "
        f"{exponent:.2f} of the number of layers.\n\n"
        + table(
            ["network", "milliseconds", "microseconds a layer"],
            [
                [f"wrn-{depth}-10", f"{1e3 * took:.1f}", f"{1e6 * took / depth:.0f}"]
                for depth, took in grown.items()
            ],
        )
    )
    print(text)
    if args.write:
        write_section(PAGE, "plan", text)


if __name__ == "__main__":
    main()
