"""A third network joins a bank of two: against three from the start, and the third apart.

    python -m benchmarks.joining run                  # what is missing of the small size
    python -m benchmarks.joining report               # docs/results.md, from the stored runs
    python -m benchmarks.joining run --size full --device cuda --threads 8

Stopped with Ctrl-C or killed, `run` goes on where it was. Each record is one JSON file below
benchmarks/records/joining; delete files to have their runs made anew.
"""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.ensembles.settings import SIZES
from benchmarks.joins.arms import ARMS, Cell, cells
from benchmarks.joins.making import Record, made_records, without_record
from benchmarks.joins.report import StoredJoins, joining_section
from benchmarks.joins.settings import JoinSetting, join_setting
from benchmarks.runs import Place
from benchmarks.stored_runs import (
    PAGE,
    ROOT,
    check_setting,
    command_line,
    end_as_by_ctrl_c,
    place_of,
    tell_made,
)
from benchmarks.timing import write_section

STORE = ROOT / "benchmarks" / "records" / "joining"


def run_joins(setting: JoinSetting, wanted: Sequence[Cell], place: Place, jobs: int) -> None:
    """Make the records that are not stored yet, and tell how it goes.

    Raises:
        SystemExit: the stored records are of another schedule, other networks or other images.
    """
    check_setting(setting, place)
    missing = without_record(wanted, place.store)
    print(f"{setting.name}: {len(missing)} records to make of {len(wanted)}")
    tell_made(made_records(setting, missing, place, jobs), len(missing), _told)


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


def main() -> None:
    """Do what the command line says."""
    parser, commands = command_line(__doc__, "joining", SIZES)
    arms = commands["run"]
    arms.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM")
    args = parser.parse_args()
    if args.command == "report":
        report_joins(args.store, PAGE)
        return
    end_as_by_ctrl_c()
    setting = join_setting(args.size, args.dataset)
    run_joins(setting, cells(args.arms, args.seeds), place_of(args, setting), args.jobs)


if __name__ == "__main__":
    main()
