"""Every method at equal total parameters: same data, same schedule, same seeds.

    python -m benchmarks.methods run                    # what is missing of the small table
    python -m benchmarks.methods report                 # docs/results.md, from the stored runs
    python -m benchmarks.methods run --size full --architecture wrn-28-10 --device cuda --threads 8

Stopped with Ctrl-C or killed, `run` goes on where it was. Each run is one JSON file below
benchmarks/records/methods; delete files to have their runs made anew.
"""

import argparse
import json
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import npas.data

from benchmarks.arms import ARMS, BUDGETS, SIZES, Cell, Setting, cells, setting
from benchmarks.plots import accuracy_svg
from benchmarks.runs import Place, Record, made, missing, write
from benchmarks.scores import Stored, section
from benchmarks.timing import write_section

ROOT = Path(__file__).parent.parent
STORE = ROOT / "benchmarks" / "records" / "methods"
PAGE = ROOT / "docs" / "results.md"


def run_missing(setting: Setting, cells: Sequence[Cell], place: Place, jobs: int) -> None:
    """Make the runs that are not stored yet, and tell how it goes.

    Raises:
        SystemExit: the stored runs are of another schedule or other images.
    """
    npas.data.require(setting.dataset, place.data)
    about = place.store / "setting.json"
    if about.exists() and json.loads(about.read_text()) != setting.to_json():
        raise SystemExit(
            f"{place.store} holds runs of another setting: move them, or give --store"
        )
    write(about, setting.to_json())
    wanted, notes = missing(setting, cells, place)
    print(f"{setting.name}: {len(wanted)} runs to make of {len(cells)}", *notes, sep="\n  ")
    started = time.monotonic()
    try:
        for count, (cell, record) in enumerate(made(setting, wanted, place, jobs), 1):
            left = (time.monotonic() - started) / count * (len(wanted) - count)
            print(
                f"[{count}/{len(wanted)}] {cell.name}: {_told(record)}; {left / 60:.0f} min left",
                flush=True,
            )
    except KeyboardInterrupt:
        print("stopped; the same command goes on")


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


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    parser.add_argument("--store", type=Path, default=STORE, help="folder of the runs' files")
    commands.add_parser("report", help="write docs/results.md from the stored runs")
    run = commands.add_parser("run", help="make the runs that are missing")
    run.add_argument("--size", choices=SIZES, default="small", help="schedule and images")
    run.add_argument("--dataset", default="cifar10")
    run.add_argument("--architecture", default="wrn-16-1")
    run.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM")
    run.add_argument("--budgets", nargs="+", type=float, default=BUDGETS, metavar="FRACTION")
    run.add_argument("--seeds", type=int, default=3)
    run.add_argument("--jobs", type=int, default=1, help="runs at a time")
    run.add_argument("--threads", type=int, default=1, help="of one run on a CPU")
    run.add_argument("--device", default="cpu")
    run.add_argument("--data-folder", type=Path, help="where the datasets are")
    run.add_argument("--work", type=Path, default=ROOT / ".npas" / "benchmarks")
    return parser.parse_args()


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Do what the command line says."""
    args = _arguments()
    if args.command == "report":
        report(args.store, PAGE)
        return
    signal.signal(signal.SIGTERM, _interrupted)
    chosen = setting(args.size, args.dataset, args.architecture)
    place = Place(
        store=args.store / chosen.name,
        work=args.work,
        data=args.data_folder,
        device=args.device,
        threads=args.threads,
    )
    run_missing(chosen, cells(args.arms, args.budgets, args.seeds), place, args.jobs)


if __name__ == "__main__":
    main()
