"""A network within so many bytes: shared, against the same network without sharing.

    python -m benchmarks.coded run                  # what is missing of the small size
    python -m benchmarks.coded report               # docs/results.md, from the stored runs
    python -m benchmarks.coded run --size full --device cuda --threads 8

Both are rounded and coded by the same code, into files of equal size. Stopped with Ctrl-C or
killed, `run` goes on where it was. Each record is one JSON file below benchmarks/records/coded;
delete files to have their runs made anew.
"""

import argparse
import functools
import json
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import npas.data

from benchmarks.coding.making import make_record
from benchmarks.coding.report import StoredCodings, coding_section
from benchmarks.coding.settings import SIZES, Cell, CodingSetting, cells, coding_setting
from benchmarks.pool import each_made
from benchmarks.runs import Place, write
from benchmarks.timing import write_section

ROOT = Path(__file__).parent.parent
STORE = ROOT / "benchmarks" / "records" / "coded"
WORK = ROOT / ".npas" / "benchmarks" / "coded"
PAGE = ROOT / "docs" / "results.md"


def run_cells(setting: CodingSetting, wanted: Sequence[Cell], place: Place, jobs: int) -> None:
    """Make the records that are not stored yet, and tell how it goes.

    Raises:
        SystemExit: the stored records are of another schedule or other images.
    """
    npas.data.require(setting.dataset, place.data)
    about = place.store / "setting.json"
    if about.exists() and json.loads(about.read_text()) != setting.to_json():
        raise SystemExit(
            f"{place.store} holds runs of another setting: move them, or give --store"
        )
    write(about, setting.to_json())
    missing = [cell for cell in wanted if not (place.store / f"{cell.name}.json").exists()]
    print(f"{setting.name}: {len(missing)} records to make of {len(wanted)}")
    started = time.monotonic()
    work = functools.partial(make_record, setting, place)
    try:
        for count, (cell, record) in enumerate(each_made(work, missing, jobs), 1):
            left = (time.monotonic() - started) / count * (len(missing) - count)
            told = f"{record['accuracy']:.2%}" if record["status"] == "done" else record["status"]
            print(
                f"[{count}/{len(missing)}] {cell.name}: {told}; {left / 60:.0f} min left",
                flush=True,
            )
    except KeyboardInterrupt:
        print("stopped; the same command goes on")


def report(store: Path, page: Path) -> None:
    """Write the tables of all settings into the page."""
    parts = [
        coding_section(StoredCodings.read(folder), folder.name)
        for folder in sorted(store.iterdir())
    ]
    write_section(page, "coded", "\n\n".join(parts))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, default=STORE, help="folder of the records")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of runs in progress")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("report", help="write docs/results.md from the stored records")
    run = commands.add_parser("run", help="make the records that are missing")
    run.add_argument("--size", choices=SIZES, default="small", help="images, schedule")
    run.add_argument("--dataset", default="cifar10")
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
    setting = coding_setting(args.size, args.dataset)
    place = Place(
        store=args.store / setting.name,
        work=args.work,
        data=args.data_folder,
        device=args.device,
        threads=args.threads,
    )
    run_cells(setting, cells(args.seeds), place, args.jobs)


if __name__ == "__main__":
    main()
