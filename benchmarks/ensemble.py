"""Several networks of one bank against other ways to an ensemble: same data, schedule, seeds.

    python -m benchmarks.ensemble run                  # what is missing of the small table
    python -m benchmarks.ensemble report               # docs/results.md, from the stored runs
    python -m benchmarks.ensemble run --size full --device cuda --threads 8

Stopped with Ctrl-C or killed, `run` goes on where it was. Each record, of all members of an arm,
is one JSON file below benchmarks/records/ensemble; delete files to have their runs made anew.
"""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.ensembles.arms import ARMS, Cell, cells
from benchmarks.ensembles.making import Record, made_cells, missing_cells
from benchmarks.ensembles.picture import ensemble_svg
from benchmarks.ensembles.report import section
from benchmarks.ensembles.settings import FRACTIONS, SIZES, Setting, setting
from benchmarks.ensembles.stored import Stored
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

STORE = ROOT / "benchmarks" / "records" / "ensemble"


def run_missing(setting: Setting, cells: Sequence[Cell], place: Place, jobs: int) -> None:
    """Make the records that are not stored yet, and tell how it goes.

    Raises:
        SystemExit: the stored records are of another schedule, other networks or other images.
    """
    check_setting(setting, place)
    wanted = missing_cells(cells, place)
    print(f"{setting.name}: {len(wanted)} records to make of {len(cells)}")
    tell_made(made_cells(setting, wanted, place, jobs), len(wanted), _told)


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


def main() -> None:
    """Do what the command line says."""
    parser, commands = command_line(__doc__, "ensemble", SIZES)
    run = commands["run"]
    run.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM")
    run.add_argument("--configurations", nargs="+", choices=FRACTIONS, default=list(FRACTIONS))
    args = parser.parse_args()
    if args.command == "report":
        report(args.store, PAGE)
        return
    end_as_by_ctrl_c()
    chosen = setting(args.size, args.dataset)
    wanted = cells(args.arms, args.configurations, args.seeds)
    run_missing(chosen, wanted, place_of(args, chosen), args.jobs)


if __name__ == "__main__":
    main()
