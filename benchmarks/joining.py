"""A third network joins a bank of two: against three from the start, and the third apart.

    python -m benchmarks.joining run                  # what is missing of the small size
    python -m benchmarks.joining report               # docs/results.md, from the stored runs
    python -m benchmarks.joining run --size full --device cuda --threads 8

Stopped with Ctrl-C or killed, `run` goes on where it was. Each record is one JSON file below
benchmarks/records/joining; delete files to have their runs made anew.
"""

import argparse
import json
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import npas.data

from benchmarks.ensembles.settings import SIZES
from benchmarks.joins.arms import ARMS, Cell, cells
from benchmarks.joins.making import Record, made_records, without_record
from benchmarks.joins.report import StoredJoins, joining_section
from benchmarks.joins.settings import JoinSetting, join_setting
from benchmarks.runs import Place, write
from benchmarks.timing import write_section

ROOT = Path(__file__).parent.parent
STORE = ROOT / "benchmarks" / "records" / "joining"
WORK = ROOT / ".npas" / "benchmarks" / "joining"
PAGE = ROOT / "docs" / "results.md"


def run_joins(setting: JoinSetting, wanted: Sequence[Cell], place: Place, jobs: int) -> None:
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
    missing = without_record(wanted, place.store)
    print(f"{setting.name}: {len(missing)} records to make of {len(wanted)}")
    started = time.monotonic()
    try:
        for count, (cell, record) in enumerate(made_records(setting, missing, place, jobs), 1):
            left = (time.monotonic() - started) / count * (len(missing) - count)
            print(
                f"[{count}/{len(missing)}] {cell.name}: {_told(record)}; {left / 60:.0f} min left",
                flush=True,
            )
    except KeyboardInterrupt:
        print("stopped; the same command goes on")


def _told(record: Record) -> str:
    if record["status"] != "done":
        return str(record["status"])
    parts = ("third", "together")
    found = [f"{part} {record[part]['accuracy']:.2%}" for part in parts if record[part]]
    return f"{', '.join(found)} in {record['cpu_seconds']:.0f} s"


def report_joins(store: Path, page: Path) -> None:
    """Write the tables of all settings into the page."""
    parts = [
        joining_section(StoredJoins.read(folder), folder.name)
        for folder in sorted(store.iterdir())
    ]
    write_section(page, "joining", "\n\n".join(parts))


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
        report_joins(args.store, PAGE)
        return
    signal.signal(signal.SIGTERM, _interrupted)
    setting = join_setting(args.size, args.dataset)
    place = Place(
        store=args.store / setting.name,
        work=args.work,
        data=args.data_folder,
        device=args.device,
        threads=args.threads,
    )
    run_joins(setting, cells(args.arms, args.seeds), place, args.jobs)


if __name__ == "__main__":
    main()
