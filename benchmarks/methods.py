"""Every method at equal total parameters: same data, same schedule, same seeds.

    python -m benchmarks.methods run                    # what is missing of the small table
    python -m benchmarks.methods report                 # docs/results.md, from the stored runs
    python -m benchmarks.methods run --size full --architecture wrn-28-10 --device cuda --threads 8
    python -m benchmarks.methods run --suite test       # cells of several networks and datasets

Stopped with Ctrl-C or killed, `run` goes on where it was. Each run is one JSON file below
benchmarks/records/methods; delete files to have their runs made anew.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.arms import ARMS, BUDGETS, SIZES, Cell, Setting, cells, setting
from benchmarks.plots import accuracy_svg
from benchmarks.regret import Results, by_cell, summary
from benchmarks.runs import Place, Record, made, missing
from benchmarks.scores import Stored, section
from benchmarks.stored_runs import (
    PAGE,
    ROOT,
    check_setting,
    command_line,
    end_as_by_ctrl_c,
    place_of,
    tell_made,
)
from benchmarks.suite import SUITES, settings
from benchmarks.timing import write_section

STORE = ROOT / "benchmarks" / "records" / "methods"
SUITE_STORE = ROOT / "benchmarks" / "records" / "suite"


def run_missing(setting: Setting, cells: Sequence[Cell], place: Place, jobs: int) -> bool:
    """Make the runs that are not stored yet, and tell how it goes; False after Ctrl-C.

    Raises:
        SystemExit: the stored runs are of another schedule or other images.
    """
    check_setting(setting, place)
    wanted, notes = missing(setting, cells, place)
    print(f"{setting.name}: {len(wanted)} runs to make of {len(cells)}", *notes, sep="\n  ")
    return tell_made(made(setting, wanted, place, jobs), len(wanted), _told)


def _told(record: Record) -> str:
    if record["status"] == "raced":
        return f"{record['race']['method']} in {record['seconds']:.0f} s"
    if record["status"] != "done":
        return str(record["message"])
    share = record["parameters"] / record["dense"]
    return f"{record['accuracy']:.2%} with {share:.1%} in {record['seconds']:.0f} s"


def report(store: Path, page: Path) -> None:
    """Write the tables and plots of all settings into the page."""
    parts = []
    for folder in sorted(store.iterdir()):
        stored = Stored.read(folder)
        picture = page.parent / "images" / f"methods-{folder.name}.svg"
        picture.write_text(accuracy_svg(stored))
        parts.append(section(stored, f"images/{picture.name}"))
    write_section(page, "methods", "\n\n".join(parts))


def run_suite(args: argparse.Namespace) -> None:
    """Make the runs of a suite that are missing, seed by seed, and tell how it goes."""
    for seed in range(args.seeds):
        for chosen, budgets in settings(args.suite):
            place = replace(place_of(args, chosen), store=SUITE_STORE / args.suite / chosen.name)
            wanted = [c for c in cells(args.arms, budgets, args.seeds) if c.seed == seed]
            if not run_missing(chosen, wanted, place, args.jobs):
                return


def report_suites(page: Path) -> None:
    """Write the tables of both suites into the page."""
    for suite in SUITES:
        found = Results.read(suite, SUITE_STORE / suite)
        if found.cells:
            write_section(page, f"suite-{suite}", f"{summary(found)}\n\n{by_cell(found)}")


def main() -> None:
    """Do what the command line says."""
    parser, commands = command_line(__doc__, "methods", SIZES)
    run = commands["run"]
    run.add_argument("--architecture", default="wrn-16-1")
    run.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM")
    run.add_argument("--budgets", nargs="+", type=float, default=BUDGETS, metavar="FRACTION")
    run.add_argument(
        "--suite", choices=SUITES, help="in place of --size, --dataset, --architecture"
    )
    args = parser.parse_args()
    if args.command == "report":
        report(args.store, PAGE)
        report_suites(PAGE)
        return
    end_as_by_ctrl_c()
    if args.suite:
        run_suite(args)
        return
    chosen = setting(args.size, args.dataset, args.architecture)
    wanted = cells(args.arms, args.budgets, args.seeds)
    run_missing(chosen, wanted, place_of(args, chosen), args.jobs)


if __name__ == "__main__":
    main()
