"""A trained network is brought into budgets: fitted and healed, against training for as long.

    python -m benchmarks.conversion teachers          # the trained networks, one for each seed
    python -m benchmarks.conversion run               # what is missing of the arms
    python -m benchmarks.conversion report            # docs/results.md, from the stored runs

Stopped with Ctrl-C or killed, each goes on where it was. Each record is one JSON file below
benchmarks/records/conversion; delete files to have their runs made anew.
"""

import argparse
import signal
from pathlib import Path
from typing import Any

import npas.data

from benchmarks.conversions.settings import SIZES, ConversionSetting, conversion_setting
from benchmarks.conversions.teachers import made_teachers
from benchmarks.runs import Place

ROOT = Path(__file__).parent.parent
STORE = ROOT / "benchmarks" / "records" / "conversion"
WORK = ROOT / ".npas" / "benchmarks" / "conversion"


def run_teachers(setting: ConversionSetting, seeds: int, place: Place, jobs: int) -> None:
    """Train the networks that are not there yet, and tell how it goes."""
    wanted = [n for n in range(seeds) if not (place.store / f"teacher-{n}.json").exists()]
    print(f"{setting.name}: {len(wanted)} networks to train of {seeds}", flush=True)
    for seed, record in made_teachers(setting, wanted, place, jobs):
        print(
            f"teacher-{seed}: {record['accuracy']:.2%} in {record['cpu_seconds']:.0f} s",
            flush=True,
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, default=STORE, help="folder of the records")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of runs in progress")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, told in (("teachers", "train the networks"),):
        command = commands.add_parser(name, help=told)
        command.add_argument("--size", choices=SIZES, default="small")
        command.add_argument("--dataset", default="cifar10")
        command.add_argument("--seeds", type=int, default=3)
        command.add_argument("--jobs", type=int, default=1, help="at a time")
        command.add_argument("--threads", type=int, default=1, help="of one run on a CPU")
        command.add_argument("--device", default="cpu")
        command.add_argument("--data-folder", type=Path, help="where the datasets are")
    return parser.parse_args()


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Do what the command line says."""
    args = _arguments()
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
    run_teachers(setting, args.seeds, place, args.jobs)


if __name__ == "__main__":
    main()
