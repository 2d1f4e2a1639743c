"""Several networks of one bank against other ways to an ensemble: same data, schedule, seeds.

    python -m benchmarks.ensemble run                  # what is missing of the small table
    python -m benchmarks.ensemble report               # docs/results.md, from the stored runs
    python -m benchmarks.ensemble run --size full --device cuda --threads 8

Stopped with Ctrl-C or killed, `run` goes on where it was. Each record, of all members of an arm,
is one JSON file below benchmarks/records/ensemble; delete files to have their runs made anew.
"""

import argparse
import json
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import npas.data

from benchmarks.ensembles.arms import ARMS, Cell, cells
from benchmarks.ensembles.making import Record, made_cells, missing_cells
from benchmarks.ensembles.picture import ensemble_svg
from benchmarks.ensembles.report import section
from benchmarks.ensembles.settings import FRACTIONS, SIZES, Setting, setting
from benchmarks.ensembles.stored import Stored
from benchmarks.runs import Place, write
from benchmarks.timing import write_section

ROOT = Path(__file__).parent.parent
STORE = ROOT / "benchmarks" / "records" / "ensemble"
WORK = ROOT / ".npas" / "benchmarks" / "ensemble"
PAGE = ROOT / "docs" / "results.md"


def run_missing(setting: Setting, cells: Sequence[Cell], place: Place, jobs: int) -> None:
    """Make the records that are not stored yet, and tell how it goes.

    Raises:
        SystemExit: the stored records are of another schedule, other networks or other images.
    """
    npas.data.require(setting.dataset, place.data)
    about = place.store / "setting.json"
    if about.exists() and json.loads(about.read_text()) != setting.to_json():
        raise SystemExit(
            f"{place.store} holds runs of another setting: move them, or give --store"
        )
    write(about, setting.to_json())
    wanted = missing_cells(cells, place)
    print(f"{setting.name}: {len(wanted)} records to make of {len(cells)}")
    started = time.monotonic()
    try:
        for count, (cell, record) in enumerate(made_cells(setting, wanted, place, jobs), 1):
            left = (time.monotonic() - started) / count * (len(wanted) - count)
            print(
                f"[{count}/{len(wanted)}] {cell.name}: {_told(record)}; {left / 60:.0f} min left",
                flush=True,
            )
    except KeyboardInterrupt:
        print("stopped; the same command goes on")


def _told(record: Record) -> str:
    if record["status"] != "done":
        return str(record["message"])
    return (
        f"{record['accuracy']:.2%} with {record['parameters']:,} parameters in "
        f"{record['cpu_seconds']:.0f} + {record['grading_seconds']:.0f} s"
    )


def report(store: Path, page: Path) -> None:
    """Write the tables and pictures of all settings into the page."""
    parts = []
    for folder in sorted(store.iterdir()):
        stored = Stored.read(folder)
        picture = page.parent / "images" / f"ensemble-{folder.name}.svg"
        picture.write_text(ensemble_svg(stored))
        parts.append(section(stored, folder.name, f"images/{picture.name}"))
    write_section(page, "ensemble", "\n\n".join(parts))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, default=STORE, help="folder of the records")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of runs in progress")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("report", help="write docs/results.md from the stored records")
    run = commands.add_parser("run", help="make the records that are missing")
    run.add_argument("--size", choices=SIZES, default="small", help="networks, images, schedule")
    run.add_argument("--dataset", default="cifar10")
    run.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM")
    run.add_argument("--configurations", nargs="+", choices=FRACTIONS, default=list(FRACTIONS))
    run.add_argument("--seeds", type=int, default=3)
    run.add_argument("--jobs", type=int, default=1, help="records at a time")
    run.add_argument("--threads", type=int, default=1, help="of one run on a CPU")
    run.add_argument("--device", default="cpu")
    run.add_argument("--data-folder", type=Path, help="where the datasets are")
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
    chosen = setting(args.size, args.dataset)
    place = Place(
        store=args.store / chosen.name,
        work=args.work,
        data=args.data_folder,
        device=args.device,
        threads=args.threads,
    )
    run_missing(chosen, cells(args.arms, args.configurations, args.seeds), place, args.jobs)


if __name__ == "__main__":
    main()
