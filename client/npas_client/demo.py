"""Shows that it works, end to end: `make demo`.

Starts a service of its own, asks it over HTTP for WRN-16-2 on handwritten digits at a quarter of
the dense size, and for the dense network to compare with; downloads the result, loads it in a new
process, and fails unless it is what was promised. Leaves model.safetensors, allocation.svg and
curve.svg in demo/; the last line it prints is one JSON object with the figures.
"""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from npas.delivery.report import Report
from rich.console import Console

from npas_client.answers import Job
from npas_client.client import Client
from npas_client.errors import ServiceError
from npas_client.local import LocalService, LocalServiceError
from npas_client.show import Row, View

FOLDER = Path("demo")
ARCHITECTURE, DATASET, METHOD, BASELINE = "wrn-16-2", "digits", "block_mix", "dense"
FRACTION = 0.25
TRAINING = {"epochs": 20, "batch_size": 64, "schedule": "cosine", "warmup_epochs": 1.0}
FILES = ("model.safetensors", "allocation.svg", "curve.svg")
POLL_SECONDS = 0.5

MIN_ACCURACY = 0.95
MAX_LOSS = 0.02
"""Of accuracy, against the dense network."""
MAX_HEADER_BYTES = 64 * 1024


class DemoError(Exception):
    """Something is not as promised; the message says what."""


def _report(job: Job) -> Report:
    """Return the report of a job that ended well."""
    assert job.result is not None
    return job.result


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came out: two finished jobs, and what a fresh process found in the file."""

    job: Job
    dense: Job
    file_bytes: int
    grade: Mapping[str, Any]
    seconds: float

    def summary(self) -> dict[str, Any]:
        """Return the figures of the last line."""
        result, dense = _report(self.job), _report(self.dense)
        return {
            "job": self.job.id,
            "state": self.job.state,
            "architecture": result.architecture,
            "method": result.method,
            "dataset": result.dataset,
            "dense_parameters": result.dense_parameters,
            "budget_parameters": result.budget_parameters,
            "parameters": self.grade["parameters"],
            "minimum_parameters": result.minimum_parameters,
            "groups": result.groups,
            "file_bytes": self.file_bytes,
            "accuracy": result.accuracy,
            "loaded_accuracy": self.grade["accuracy"],
            "dense_accuracy": dense.accuracy,
            "seconds": round(self.seconds, 1),
        }

    def broken_promises(self) -> list[str]:
        """Return the promises that were not kept, in words; empty when all is well."""
        figures = self.summary()
        accuracy, dense = figures["accuracy"], figures["dense_accuracy"]
        loaded, parameters = figures["loaded_accuracy"], figures["parameters"]
        reported = _report(self.job).parameters
        most = 4 * parameters + self.grade["buffer_bytes"] + MAX_HEADER_BYTES
        promises = {
            f"the file holds {parameters:,} parameters, the report says {reported:,}": (
                parameters == reported
            ),
            f"{parameters:,} parameters are over the budget of {figures['budget_parameters']:,}": (
                parameters <= figures["budget_parameters"]
            ),
            f"the file has {self.file_bytes:,} bytes, at most {most:,} were promised": (
                self.file_bytes <= most
            ),
            f"accuracy {accuracy} became {loaded} when loaded in a new process": (
                loaded == accuracy
            ),
            f"accuracy {accuracy} is below {MIN_ACCURACY}": accuracy >= MIN_ACCURACY,
            f"accuracy {accuracy} is more than {MAX_LOSS} below the dense {dense}": (
                accuracy >= dense - MAX_LOSS
            ),
        }
        return [promise for promise, is_kept in promises.items() if not is_kept]


def spec(method: str, fraction: float) -> dict[str, Any]:
    """Return the body of POST /v1/jobs for one of the two jobs."""
    return {
        "architecture": ARCHITECTURE,
        "dataset": DATASET,
        "method": method,
        "budget": {"fraction": fraction},
        "training": TRAINING,
        "labels": {"made-by": "demo"},
    }


def follow(client: Client, service: LocalService, titles: Mapping[str, str], view: View) -> None:
    """Show the jobs until all have ended.

    Args:
        titles: job id -> what to call it on the screen.

    Raises:
        DemoError: a job did not succeed.
        LocalServiceError: the service ended by itself.
    """
    while True:
        service.check()
        rows = []
        for job_id, title in titles.items():
            job, curve = client.get(job_id), client.metrics(job_id)
            rows.append(Row(title=title, job=job, latest=curve[-1] if curve else {}))
        view.update(rows)
        for row in rows:
            if row.job.is_terminal and row.job.state != "succeeded":
                raise DemoError(f"job {row.job.id} {row.job.state}: {row.job.reason}")
        if all(row.job.is_terminal for row in rows):
            return
        time.sleep(POLL_SECONDS)


def graded_apart(path: Path) -> dict[str, Any]:
    """Have a new process load the file and evaluate it on the test images.

    Raises:
        DemoError: it could not.
    """
    command = [sys.executable, "-m", "npas_client.check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(f"{path} cannot be loaded in a new process:\n{done.stderr.strip()}")
    return dict(json.loads(done.stdout))


def run(console: Console, home: Path) -> Outcome:
    """Do it all.

    Args:
        home: an empty folder for the service, to be deleted afterwards.
    """
    started = time.monotonic()
    for name in FILES:  # of an earlier run: what lies there afterwards is from this one
        (FOLDER / name).unlink(missing_ok=True)
    say(console, "Starting the service: PostgreSQL, Redis, API and worker")
    with LocalService(home, FOLDER / "service.log") as service, Client(service.url) as client:
        say(console, f"Ready at {service.url}; submitting {ARCHITECTURE} on {DATASET}, twice")
        job = client.submit(spec(METHOD, FRACTION))
        dense = client.submit(spec(BASELINE, 1.0))
        titles = {job.id: f"{METHOD} at {FRACTION:.0%}", dense.id: BASELINE}
        with View(console) as view:
            follow(client, service, titles, view)
        say(console, f"Downloading {', '.join(FILES)} to {FOLDER}/")
        for name in FILES:
            client.download(job.id, name, FOLDER / name)
        say(console, "Loading the file in a new process and evaluating it there")
        path = FOLDER / "model.safetensors"
        return Outcome(
            job=client.get(job.id),
            dense=client.get(dense.id),
            file_bytes=path.stat().st_size,
            grade=graded_apart(path),
            seconds=time.monotonic() - started,
        )


def keep_logs(home: Path) -> None:
    """Save the logs of the service's parts before their folder goes."""
    if (home / "logs").is_dir():
        shutil.copytree(home / "logs", FOLDER / "logs", dirs_exist_ok=True)


def say(console: Console, line: str) -> None:
    """Print a line that is not a figure."""
    console.print(line, highlight=False, soft_wrap=True)


def explain(console: Console, figures: Mapping[str, Any]) -> None:
    """Print the outcome for people."""
    share = figures["parameters"] / figures["dense_parameters"]
    say(
        console,
        f"{figures['architecture']} has {figures['dense_parameters']:,} parameters; allowed were "
        f"{figures['budget_parameters']:,}, used {figures['parameters']:,} ({share:.1%}) in "
        f"{figures['groups']} groups.\n"
        f"Accuracy on the test images: {figures['accuracy']:.2%}, loaded anew "
        f"{figures['loaded_accuracy']:.2%}, dense {figures['dense_accuracy']:.2%}.\n"
        f"{FOLDER}/model.safetensors has {figures['file_bytes']:,} bytes; see also "
        f"{FOLDER}/allocation.svg and {FOLDER}/curve.svg.",
    )


def main() -> int:
    """Run the demonstration; 0 if everything held, 1 if not, 130 if interrupted."""
    signal.signal(signal.SIGTERM, _interrupt)
    console, errors = Console(), Console(stderr=True)
    try:
        with tempfile.TemporaryDirectory(prefix="npas-demo-") as home:
            try:
                outcome = run(console, Path(home))
            finally:
                keep_logs(Path(home))
        broken = outcome.broken_promises()
    except KeyboardInterrupt:
        say(errors, "demo: interrupted; everything it started has ended")
        return 130
    except (DemoError, LocalServiceError, ServiceError) as error:
        say(errors, f"demo: {error}")
        return 1
    explain(console, outcome.summary())
    for promise in broken:
        say(errors, f"demo: {promise}")
    print(json.dumps(outcome.summary()))
    return 1 if broken else 0


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
