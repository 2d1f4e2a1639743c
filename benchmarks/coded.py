"""A network within so many bytes: shared, against the same network without sharing.

    python -m benchmarks.coded run                  # what is missing of the small size
    python -m benchmarks.coded report               # docs/results.md, from the stored runs
    python -m benchmarks.coded run --size full --device cuda --threads 8

Both are rounded and coded by the same code, into files of equal size. Stopped with Ctrl-C or
killed, `run` goes on where it was. Each record is one JSON file below benchmarks/records/coded;
delete files to have their runs made anew.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

from benchmarks.coding.making import make_record
from benchmarks.coding.report import StoredCodings, coding_section
from benchmarks.coding.settings import SIZES, Cell, CodingSetting, cells, coding_setting
from benchmarks.pool import each_made
from benchmarks.runs import Place, Record
from benchmarks.stored_runs import (
    PAGE,
    check_setting,
    command_line,
    end_as_by_ctrl_c,
    place_of,
    tell_made,
)
from benchmarks.timing import write_section


def run_cells(setting: CodingSetting, wanted: Sequence[Cell], place: Place, jobs: int) -> None:
    """Make the records that are not stored yet, and tell how it goes.

    Raises:
        SystemExit: the stored records are of another schedule or other images.
    """
    check_setting(setting, place)
    missing = [cell for cell in wanted if not (place.store / f"{cell.name}.json").exists()]
    print(f"{setting.name}: {len(missing)} records to make of {len(wanted)}")
    work = functools.partial(make_record, setting, place)
    tell_made(each_made(work, missing, jobs), len(missing), _told)


def _told(record: Record) -> str:
    return f"{record['accuracy']:.2%}" if record["status"] == "done" else str(record["status"])


def report(store: Path, page: Path) -> None:
    """Write the tables of all settings into the page."""
    parts = [
        coding_section(StoredCodings.read(folder), folder.name)
        for folder in sorted(store.iterdir())
    ]
    write_section(page, "coded", "\n\n".join(parts))


def main() -> None:
    """Do what the command line says."""
    parser, _ = command_line(__doc__, "coded", SIZES)
    args = parser.parse_args()
    if args.command == "report":
        report(args.store, PAGE)
        return
    end_as_by_ctrl_c()
    setting = coding_setting(args.size, args.dataset)
    run_cells(setting, cells(args.seeds), place_of(args, setting), args.jobs)


if __name__ == "__main__":
    main()
