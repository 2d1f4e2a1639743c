"""What `auto` knows before a race: the losses of the stored runs, as a file of the library.

    python -m benchmarks.known_losses

Read are the runs of `benchmarks.methods` and of the suite "development"; those of "test" are for
the report, and never looked at here. Left out is what no request can ask for, such as evidence by
lot, and the dense network, which has no budget.
"""

import itertools
import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from npas import arch
from npas.arch.costs import running_cost
from npas.planning.prior import KNOWN, KnownCell, KnownLosses, Sized, name_of
from npas.spec import ArchitectureSpec, MethodSpec

from benchmarks.arms import ARMS, DENSE, Arm
from benchmarks.methods import STORE, SUITE_STORE
from benchmarks.scores import Stored

FOLDERS = (STORE, SUITE_STORE / "development")

Losses = Mapping[str, Mapping[int, float]]
"""Of one cell: arm -> seed -> loss on the test images, nats."""


def known_losses(folders: Iterable[Path] = FOLDERS) -> KnownLosses:
    """Return what stored runs say.

    Args:
        folders: of the settings' folders.
    """
    found = list(_cells(sorted(path for each in folders for path in each.iterdir())))
    leads = [list(_seed_leads(losses)) for _, losses in found]
    return KnownLosses(
        noise=_rounded(statistics.median(itertools.chain.from_iterable(leads))),
        spread=_rounded(statistics.median(_spreads([cell for cell, _ in found]))),
        cells=tuple(cell for cell, _ in found),
    )


def text(known: KnownLosses) -> str:
    """Return the content of the library's file."""
    return json.dumps(known.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"


def _cells(folders: Iterable[Path]) -> Iterator[tuple[KnownCell, Losses]]:
    for folder in folders:
        if not (folder / "setting.json").exists():
            continue
        stored = Stored.read(folder)
        for budget in stored.budgets:
            by_arm = {name: stored.values(name, budget, "nll") for name in stored.arms}
            asked = {n: runs for n, runs in by_arm.items() if runs and _is_of_a_request(n)}
            plain = {name: runs for name, runs in asked.items() if ARMS[name].scale == 1}
            sized = [_sized(stored, ARMS[n], asked[n]) for n in asked if n not in plain]
            if plain:
                yield _cell(stored, budget, plain, sized), plain


def _is_of_a_request(name: str) -> bool:
    arm = ARMS[name]
    is_changed = arm.evidence or arm.is_race or arm.training or arm.rate != 1
    return name != DENSE and not is_changed


def _cell(stored: Stored, budget: float, losses: Losses, sized: list[Sized]) -> KnownCell:
    about = stored.setting
    network = arch.as_spec(about["architecture"])
    return KnownCell(
        network=network.name,
        family=arch.family_name(network),
        dataset=about["dataset"]["name"],
        fraction=budget,
        epochs=about["training"]["epochs"],
        losses={_method(ARMS[name]): _mean(runs) for name, runs in losses.items()},
        sized=tuple(sized),
    )


def _sized(stored: Stored, arm: Arm, runs: Mapping[int, float]) -> Sized:
    network = arch.as_spec(stored.setting["architecture"])
    options = {**network.options, "scale": arm.scale}
    ratio = _macs(network.model_copy(update={"options": options})) / _macs(network)
    return Sized(method=_method(arm), doublings=_rounded(math.log2(ratio)), loss=_mean(runs))


def _macs(network: ArchitectureSpec) -> int:
    return running_cost(arch.resolve(network)).macs


def _method(arm: Arm) -> str:
    return name_of(MethodSpec.model_validate(arm.method))


def _mean(runs: Mapping[int, float]) -> float:
    return _rounded(statistics.fmean(runs.values()))


def _seed_leads(losses: Losses) -> Iterator[float]:
    """Yield the deviation from seed to seed of the lead of each arm over each other one."""
    for one, other in itertools.combinations(losses.values(), 2):
        seeds = sorted(one.keys() & other.keys())
        if len(seeds) > 1:
            yield statistics.stdev(one[seed] - other[seed] for seed in seeds)


def _spreads(cells: list[KnownCell]) -> Iterator[float]:
    """Yield the deviation from cell to cell of the lead of each method over each other one."""
    names = sorted({name for cell in cells for name in cell.losses})
    for one, other in itertools.combinations(names, 2):
        both = [cell.losses for cell in cells if {one, other} <= cell.losses.keys()]
        if len(both) > 1:
            yield statistics.stdev(losses[one] - losses[other] for losses in both)


def _rounded(number: float) -> float:
    """Return a number to a ten-thousandth: the noise is a hundred times as much."""
    return round(number, 4)


def main() -> None:
    """Write the file."""
    KNOWN.write_text(text(known_losses()))


if __name__ == "__main__":
    main()
