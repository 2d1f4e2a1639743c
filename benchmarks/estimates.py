"""How wrong estimates are: varied small jobs, one after the other, on a service that begins empty.

Each job's estimate is learned from those before it; the first has the worker's probe alone. Run it
alone on a machine: who else keeps the cores busy is not known beforehand.

    python -m benchmarks.estimates --jobs 30 --seed 1
"""

import argparse
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npas_client.client import Client
from npas_client.local import LocalService

from benchmarks.timing import publish

_ARCHITECTURES = ("resnet-8", "resnet-14", "wrn-10-1", "wrn-16-2", "densenet-10-8", "vit-2-32-4")
_METHODS = ("dense", "uniform", "ssn", "block_mix")
_ORDER = ("probe", "machine", "family", "kind")


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One job and its estimate.

    Attributes:
        basis: what the seconds were learned from.
        seconds: that the job took.
        ratio: those over the estimate's.
        is_inside: whether they lay in the interval.
        width: upper end of the interval over the lower one.
        memory_ratio: peak over the estimate's.
        file_difference: bytes of the model file beyond the estimate's.
    """

    basis: str
    seconds: float
    ratio: float
    is_inside: bool
    width: float
    memory_ratio: float
    file_difference: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and print two Markdown tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="npas-estimates-") as folder:
        home = Path(folder)
        with LocalService(home / "home", home / "log") as service, Client(service.url) as client:
            judged = []
            for spec in requests(asked.jobs, random.Random(asked.seed)):
                judged.append(judge(client, spec))
                print(f"{spec['architecture']}, {spec['method']}: {judged[-1]}", file=sys.stderr)
    publish("estimates", table(judged), write=asked.write)
    return 0


def requests(count: int, draw: random.Random) -> Iterator[dict[str, Any]]:
    """Yield jobs; some come again, with other lengths and batches."""
    for number in range(count):
        yield {
            "architecture": draw.choice(_ARCHITECTURES),
            "method": draw.choice(_METHODS),
            "budget": {"fraction": draw.choice((0.8, 1.0))},
            "dataset": {"name": "digits", "train_images": draw.choice((400, 800, 1437))},
            "training": {
                "epochs": draw.choice((1, 2, 4, 8)),
                "batch_size": draw.choice((16, 32, 128)),
                "learning_rate": 0.01,
            },
            "seed": number,
        }


def judge(client: Client, spec: dict[str, Any]) -> Judged:
    """Run a job to its end and return how wrong its estimate was.

    Raises:
        RuntimeError: the job did not succeed, or had no estimate.
    """
    job = client.wait(client.submit(spec).id)
    told, report = job.estimate, job.result
    off = report.estimate_error if report is not None else None
    if told is None or off is None or off.seconds_ratio is None:
        raise RuntimeError(f"{job.id} is {job.state}, and says nothing of its estimate")
    based_on = (told.model_extra or {})["based_on"]
    assert told.seconds_high is not None
    assert told.seconds_low is not None
    return Judged(
        basis=based_on["basis"],
        seconds=off.seconds or 0.0,
        ratio=off.seconds_ratio,
        is_inside=bool(off.is_in_interval),
        width=told.seconds_high / told.seconds_low,
        memory_ratio=off.memory_ratio or 0.0,
        file_difference=off.file_bytes_difference or 0,
    )


def table(judged: Sequence[Judged]) -> str:
    """Return how wrong estimates were, by what they were learned from, as Markdown."""
    lines = [
        "| learned from | jobs | seconds, median | ratio, median | off by, median | "
        "in the interval | high / low, median | memory, median ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for basis in (*_ORDER, "all"):
        rows = [each for each in judged if basis in (each.basis, "all")]
        if rows:
            lines.append(_line(basis, rows))
    exact = sum(abs(each.file_difference) <= 64 for each in judged)
    lines.append("")
    lines.append(f"Model files within 64 bytes of what was thought: {exact} of {len(judged)}.")
    return "\n".join(lines)


def _line(basis: str, rows: Sequence[Judged]) -> str:
    median = statistics.median
    inside = sum(each.is_inside for each in rows) / len(rows)
    off = median(max(each.ratio, 1 / each.ratio) - 1 for each in rows)
    return (
        f"| {basis} | {len(rows)} | {median(each.seconds for each in rows):.1f} | "
        f"{median(each.ratio for each in rows):.2f} | {off:.0%} | {inside:.0%} | "
        f"{median(each.width for each in rows):.1f} | "
        f"{median(each.memory_ratio for each in rows):.2f} |"
    )


if __name__ == "__main__":
    sys.exit(main())
