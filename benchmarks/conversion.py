"""A trained network is brought into budgets: fitted and healed, against training for as long.

    python -m benchmarks.conversion teachers          # the trained networks, one for each seed
    python -m benchmarks.conversion run               # what is missing of the arms
    python -m benchmarks.conversion report            # docs/results.md, from the stored runs

Stopped with Ctrl-C or killed, each goes on where it was. Each record is one JSON file below
benchmarks/records/conversion; delete files to have their runs made anew.
"""

import argparse
import json
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import npas.data

from benchmarks.conversions.arms import ARMS, Cell, cells
from benchmarks.conversions.making import Record, made_records, without_record
from benchmarks.conversions.report import StoredConversions, conversion_section
from benchmarks.conversions.settings import SIZES, ConversionSetting, conversion_setting
from benchmarks.conversions.teachers import made_teachers
from benchmarks.runs import Place, write
from benchmarks.timing import write_section

ROOT = Path(__file__).parent.parent
STORE = ROOT / "benchmarks" / "records" / "conversion"
WORK = ROOT / ".npas" / "benchmarks" / "conversion"
PAGE = ROOT / "docs" / "results.md"


def run_teachers(setting: ConversionSetting, seeds: int, place: Place, jobs: int) -> None:
    """Train the networks that are not there yet, and tell how it goes."""
    wanted = [n for n in range(seeds) if not (place.store / f"teacher-{n}.json").exists()]
    print(f"{setting.name}: {len(wanted)} networks to train of {seeds}", flush=True)
    for seed, record in made_teachers(setting, wanted, place, jobs):
        told = f"{record['accuracy']:.2%} in {record['cpu_seconds']:.0f} s"
        print(f"teacher-{seed}: {told}", flush=True)


def run_arms(setting: ConversionSetting, wanted: Sequence[Cell], place: Place, jobs: int) -> None:
    """Make the records that are not stored yet, and tell how it goes.

    Those of seeds whose network is not trained are left out.
    """
    missing = without_record(wanted, place)
    print(f"{setting.name}: {len(missing)} records to make of {len(wanted)}", flush=True)
    started = time.monotonic()
    for count, (cell, record) in enumerate(made_records(setting, missing, place, jobs), 1):
        left = (time.monotonic() - started) / count * (len(missing) - count)
        print(
            f"[{count}/{len(missing)}] {cell.name}: {_told(record)}; {left / 60:.0f} min left",
            flush=True,
        )


def _told(record: Record) -> str:
    if record["status"] != "done":
        return str(record["status"])
    return f"{record['accuracy']:.2%} in {record['cpu_seconds']:.0f} s"


def check_setting(setting: ConversionSetting, place: Place) -> None:
    """Check that stored records are of this setting, or say that those to come are.

    Raises:
        SystemExit: they are of another schedule, another network or other images.
    """
    about = place.store / "setting.json"
    if about.exists() and json.loads(about.read_text()) != setting.to_json():
        raise SystemExit(
            f"{place.store} holds runs of another setting: move them, or give --store"
        )
    write(about, setting.to_json())


def report_conversions(store: Path, page: Path) -> None:
    """Write the tables of all settings into the page."""
    parts = [
        conversion_section(StoredConversions.read(folder), folder.name)
        for folder in sorted(store.iterdir())
    ]
    write_section(page, "conversion", "\n\n".join(parts))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, default=STORE, help="folder of the records")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of runs in progress")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("report", help="write docs/results.md from the stored records")
    for name, told in (("teachers", "train the networks"), ("run", "make what is missing")):
        command = commands.add_parser(name, help=told)
        command.add_argument("--size", choices=SIZES, default="small", help="the schedule")
        command.add_argument("--dataset", default="cifar10")
        command.add_argument("--seeds", type=int, default=3)
        command.add_argument("--jobs", type=int, default=1, help="at a time")
        command.add_argument("--threads", type=int, default=1, help="of one run on a CPU")
        command.add_argument("--device", default="cpu")
        command.add_argument("--data-folder", type=Path, help="where the datasets are")
    arms = commands.choices["run"]
    arms.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM")
    return parser.parse_args()


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Do what the command line says."""
    args = _arguments()
    if args.command == "report":
        report_conversions(args.store, PAGE)
        return
    signal.signal(signal.SIGTERM, _interrupted)
    setting = conversion_setting(args.size, args.dataset)
    npas.data.require(setting.dataset, args.data_folder)
    place = Place(
        store=args.store / setting.name,
        work=args.work,
        data=args.data_folder,
        device=args.device,
        threads=args.threads,
    )
    check_setting(setting, place)
    try:
        if args.command == "teachers":
            run_teachers(setting, args.seeds, place, args.jobs)
        else:
            wanted = cells(args.arms, setting.budgets, range(args.seeds))
            run_arms(setting, wanted, place, args.jobs)
    except KeyboardInterrupt:
        print("stopped; the same command goes on")


if __name__ == "__main__":
    main()
