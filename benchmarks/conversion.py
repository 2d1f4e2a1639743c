"""A trained network is brought into budgets: fitted and healed, against training for as long.

    python -m benchmarks.conversion teachers          # the trained networks, one for each seed
    python -m benchmarks.conversion run               # what is missing of the arms
    python -m benchmarks.conversion report            # docs/results.md, from the stored runs

Stopped with Ctrl-C or killed, each goes on where it was. Each record is one JSON file below
benchmarks/records/conversion; delete files to have their runs made anew.
"""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.conversions.arms import ARMS, Cell, cells
from benchmarks.conversions.making import Record, made_records, without_record
from benchmarks.conversions.report import StoredConversions, conversion_section
from benchmarks.conversions.settings import SIZES, ConversionSetting, conversion_setting
from benchmarks.conversions.teachers import Teacher, made_teachers
from benchmarks.runs import Place
from benchmarks.stored_runs import (
    PAGE,
    check_setting,
    command_line,
    end_as_by_ctrl_c,
    place_of,
    tell_made,
)
from benchmarks.timing import write_section


def run_teachers(setting: ConversionSetting, seeds: int, place: Place, jobs: int) -> None:
    """Train the networks that are not there yet, and tell how it goes."""
    every = [Teacher(seed) for seed in range(seeds)]
    wanted = [cell for cell in every if not (place.store / f"{cell.name}.json").exists()]
    print(f"{setting.name}: {len(wanted)} networks to train of {seeds}", flush=True)
    tell_made(made_teachers(setting, wanted, place, jobs), len(wanted), _told)


def run_arms(setting: ConversionSetting, wanted: Sequence[Cell], place: Place, jobs: int) -> None:
    """Make the records that are not stored yet, and tell how it goes.

    Those of seeds whose network is not trained are left out.
    """
    missing = without_record(wanted, place)
    print(f"{setting.name}: {len(missing)} records to make of {len(wanted)}", flush=True)
    tell_made(made_records(setting, missing, place, jobs), len(missing), _told)


def _told(record: Record) -> str:
    if record["status"] != "done":
        return str(record["status"])
    return f"{record['accuracy']:.2%} in {record['cpu_seconds']:.0f} s"


def report_conversions(store: Path, page: Path) -> None:
    """Write the tables of all settings into the page."""
    parts = [
        conversion_section(StoredConversions.read(folder), folder.name)
        for folder in sorted(store.iterdir())
    ]
    write_section(page, "conversion", "\n\n".join(parts))


def main() -> None:
    """Do what the command line says."""
    parser, commands = command_line(
        __doc__, "conversion", SIZES, {"teachers": "train the networks", "run": "make the arms"}
    )
    arms = commands["run"]
    arms.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM")
    args = parser.parse_args()
    if args.command == "report":
        report_conversions(args.store, PAGE)
        return
    end_as_by_ctrl_c()
    setting = conversion_setting(args.size, args.dataset)
    place = place_of(args, setting)
    check_setting(setting, place)
    if args.command == "teachers":
        run_teachers(setting, args.seeds, place, args.jobs)
    else:
        run_arms(setting, cells(args.arms, setting.budgets, range(args.seeds)), place, args.jobs)


if __name__ == "__main__":
    main()
