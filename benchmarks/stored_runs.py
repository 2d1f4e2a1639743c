"""What the programs have in common that store one record for each run: command line, progress."""

import argparse
import json
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import npas.data
from npas.spec import DatasetSpec, Spec, TrainingSpec

from benchmarks.runs import Place, Record, write

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "results.md"
RUN = {"run": "make the records that are missing"}


class Setting(Protocol):
    """What all runs of one table have in common."""

    @property
    def name(self) -> str:
        """Folder of the stored runs."""

    @property
    def dataset(self) -> DatasetSpec:
        """That they train on, with its limits."""

    def to_json(self) -> dict[str, Any]:
        """Return everything that a run depends on but its cell."""


class Named(Protocol):
    """A cell: one record to be made."""

    @property
    def name(self) -> str:
        """The stem of its file."""


def command_line(
    about: str | None, name: str, sizes: Iterable[str], commands: Mapping[str, str] = RUN
) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Return the parser of a program's command line, and those of its commands that make records.

    Args:
        about: the program's own help.
        name: of its folders of records and of runs in progress.
        sizes: of networks, images and schedule, that one is chosen from.
        commands: what makes records, with the help of each; `report` is added.
    """
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    store, work = ROOT / "benchmarks" / "records" / name, ROOT / ".npas" / "benchmarks" / name
    parser.add_argument("--store", type=Path, default=store, help="folder of the records")
    parser.add_argument("--work", type=Path, default=work, help="folder of runs in progress")
    parsers = parser.add_subparsers(dest="command", required=True)
    parsers.add_parser("report", help="write docs/results.md from the stored records")
    for key, told in commands.items():
        command = parsers.add_parser(key, help=told)
        command.add_argument("--size", choices=sizes, default="small", help="images, schedule")
        command.add_argument("--dataset", default="cifar10")
        command.add_argument("--seeds", type=int, default=3)
        command.add_argument("--jobs", type=int, default=1, help="records at a time")
        command.add_argument("--threads", type=int, default=1, help="of one run on a CPU")
        command.add_argument("--device", default="cpu")
        command.add_argument("--data-folder", type=Path, help="where the datasets are")
    return parser, {key: parsers.choices[key] for key in commands}


def place_of(args: argparse.Namespace, setting: Setting) -> Place:
    """Return where the records of a setting are and what computes, by the command line."""
    return Place(
        store=args.store / setting.name,
        work=args.work,
        data=args.data_folder,
        device=args.device,
        threads=args.threads,
    )


def check_setting(setting: Setting, place: Place) -> None:
    """Check that the images are there and stored records are of this setting, or note the setting.

    Raises:
        SystemExit: they are of another schedule, other networks or other images.
    """
    npas.data.require(setting.dataset, place.data)
    about = place.store / "setting.json"
    if about.exists() and with_defaults(json.loads(about.read_text())) != setting.to_json():
        raise SystemExit(
            f"{place.store} holds runs of another setting: move them, or give --store"
        )
    write(about, setting.to_json())


def with_defaults(setting: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored setting with the fields that its training and dataset did not have yet.

    New fields have defaults that change nothing, so that the runs are still of this setting.
    """
    specs: dict[str, type[Spec]] = {"training": TrainingSpec, "dataset": DatasetSpec}
    return {
        name: specs[name].model_validate_json(json.dumps(value)).model_dump(mode="json")
        if name in specs
        else value
        for name, value in setting.items()
    }


def tell_made(
    made: Iterable[tuple[Named, Record]], wanted: int, told: Callable[[Record], str]
) -> bool:
    """Take records as they are made, and tell each with the minutes that are left.

    Ctrl-C ends it with a message: what was in progress goes on another time.

    Returns:
        False after Ctrl-C.

    Args:
        made: each with its cell.
        wanted: how many there will be.
        told: what is said of one.
    """
    started = time.monotonic()
    try:
        for count, (cell, record) in enumerate(made, 1):
            left = (time.monotonic() - started) / count * (wanted - count)
            print(
                f"[{count}/{wanted}] {cell.name}: {told(record)}; {left / 60:.0f} min left",
                flush=True,
            )
    except KeyboardInterrupt:
        print("stopped; the same command goes on")
        return False
    return True


def end_as_by_ctrl_c() -> None:
    """Have SIGTERM end this program as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _interrupted)


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt
