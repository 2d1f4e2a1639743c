"""Seconds from a loss until the job trains again, at default settings; medians and the worst.

A service as `make up` runs it: servers, an API, two workers, one job. Something is killed or
frozen at a seeded moment of the training; the clock runs until the next claim has made a step, as
who asks the service can see it, which is up to a second after it was made.

    python -m benchmarks.recovery --samples 5 --seed 1
"""

import argparse
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import npas
from npas.spec import JobSpec
from npas_local import embedded
from npas_local.environment import environment
from npas_local.processes import Child, Program
from npas_local.testing import parent, trainings
from npas_store import jobs, migrate, workers
from npas_store.database import reading, transaction
from npas_store.settings import settings
from npas_store.states import is_terminal
from npas_store.tables import Job

from benchmarks.timing import publish

REQUEST = {
    "architecture": "resnet-8",
    "budget": {"fraction": 0.6},
    "method": "uniform",
    "dataset": "digits",
    "training": {"epochs": 10_000, "batch_size": 32, "learning_rate": 0.01},
}
_LOOK_SECONDS = 0.05
_PATIENCE_SECONDS = 300.0
_WORKERS = 2
_MARGIN_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What one loss took, in seconds from it.

    Attributes:
        claimed: until the next claim.
        trained: until that had made a step.
    """

    claimed: float
    trained: float


class Service:
    """Servers, an API and workers, each started again when it dies."""

    def __init__(self, home: Path) -> None:
        """Start API and workers; the servers run."""
        commands = ["npas_api"] + ["npas_worker"] * _WORKERS
        self.programs = [
            Child(
                Program(
                    f"{module}-{number}",
                    [sys.executable, "-m", module],
                    log=home / f"logs/{module}-{number}.log",
                )
            )
            for number, module in enumerate(commands)
        ]
        for program in self.programs:
            program.start()

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Keep it alive until something holds.

        Raises:
            TimeoutError: it never does.
        """
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while not holds():
            if time.monotonic() > give_up:
                raise TimeoutError(what)
            for program in self.programs:
                program.tend()
            time.sleep(_LOOK_SECONDS)

    def until_ready(self) -> None:
        """Wait until every worker would take a job."""

        def are_fit() -> bool:
            with reading() as session:
                fit = [row for row in workers.present(session) if row.trouble is None]
            names = tuple(f":{program.pid}" for program in self.programs[1:])
            return len([row for row in fit if row.name.endswith(names)]) == _WORKERS

        self.until(are_fit, "the workers are not ready")

    def stop(self) -> None:
        """End API and workers."""
        for program in self.programs:
            program.ask_to_stop()
        for program in self.programs:
            program.stop()


def look(job_id: str) -> Job:
    """Return a job as it is now."""
    with reading() as session:
        return jobs.get(session, job_id)


class Watch:
    """Sees a claim make steps."""

    def __init__(self, job_id: str, claim_number: int) -> None:
        """Look at one claim; what came before it does not count."""
        self._job_id, self._claim_number = job_id, claim_number
        self._first: float | None = None

    def has_trained(self) -> bool:
        """Tell whether its progress grew since it was first seen to train."""
        job = look(self._job_id)
        is_training = job.claim_number == self._claim_number and job.phase == "training"
        if not is_training:
            return False
        if self._first is None or job.progress < self._first:  # the last word of the claim before
            self._first = job.progress
        return job.progress > self._first


def holders(job: Job) -> dict[str, int]:
    """Return the processes that hold a job, by what they are."""
    training = trainings()[job.id, job.claim_number]
    supervisor = parent(training)
    return {"training": training, "supervisor": supervisor, "worker": parent(supervisor)}


@contextmanager
def killed(what: str, pids: Mapping[str, int]) -> Iterator[None]:
    """Kill one of the processes."""
    os.kill(pids[what], signal.SIGKILL)
    yield


@contextmanager
def frozen(_what: str, pids: Mapping[str, int]) -> Iterator[None]:
    """Stop a whole worker, as a machine that hangs would, for as long as the block lasts."""
    for pid in pids.values():
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids.values():
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                continue


LOSSES = {
    "`kill -9` of the training": ("training", killed),
    "`kill -9` of the supervisor": ("supervisor", killed),
    "`kill -9` of the worker": ("worker", killed),
    "the worker frozen (`SIGSTOP`)": ("worker", frozen),
}


def sample(service: Service, loss: str, chance: random.Random) -> Sample:
    """Lose one job, once; return what that took."""
    service.until_ready()
    spec = JobSpec.model_validate(REQUEST)
    with transaction() as session:
        job_id = jobs.create(session, spec, npas.plan(spec)).id
    service.until(Watch(job_id, 1).has_trained, "the job does not start")
    time.sleep(chance.uniform(0, settings().lease_seconds / 3))  # anywhere between two renewals
    what, strike = LOSSES[loss]
    with strike(what, holders(look(job_id))):
        began = time.monotonic()
        service.until(lambda: look(job_id).claim_number == 2, "the job is not claimed again")
        claimed = time.monotonic() - began
        service.until(Watch(job_id, 2).has_trained, "the job does not train again")
        trained = time.monotonic() - began
    with transaction() as session:
        jobs.request_cancel(session, job_id)
    service.until(lambda: is_terminal(look(job_id).state), "the job does not end")
    return Sample(claimed=claimed, trained=trained)


def table(samples: Mapping[str, Sequence[Sample]]) -> str:
    """Return the samples as a Markdown table, in seconds."""
    lines = [
        "| lost | samples | trains again: median | worst | claimed again: median | worst |",
        "|---|---|---|---|---|---|",
    ]
    for loss, found in samples.items():
        cells = [loss, str(len(found))]
        for values in ([each.trained for each in found], [each.claimed for each in found]):
            cells += [f"{statistics.median(values):.1f}", f"{max(values):.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def run(home: Path, *, num_samples: int, seed: int) -> dict[str, list[Sample]]:
    """Measure on an empty folder, one loss of each kind after the other, over and over."""
    chance = random.Random(seed)
    found: dict[str, list[Sample]] = defaultdict(list)
    with embedded.running(home) as servers:
        place = {
            "NPAS_HOME": str(home),
            "NPAS_DATABASE_URL": servers.database_url,
            "NPAS_REDIS_URL": servers.redis_url,
            "NPAS_PORT": "0",
            "NPAS_DEVICE": "cpu",
            "NPAS_THREADS": "1",
        }
        with environment(**place):
            migrate.upgrade()
            service = Service(home)
            try:
                for _ in range(num_samples):
                    for loss in LOSSES:
                        found[loss].append(sample(service, loss, chance))
            finally:
                service.stop()
    return found


def main() -> int:
    """Measure and print the table; 1 if any loss took longer than a lease and a margin."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="npas-recovery-") as folder:
        found = run(Path(folder), num_samples=asked.samples, seed=asked.seed)
    limit = settings().lease_seconds + _MARGIN_SECONDS
    worst = max(each.trained for values in found.values() for each in values)
    told = f"{table(found)}\n\nWorst: {worst:.1f} s; at most {limit:.0f} s are wanted."
    publish("recovery", told, write=asked.write)
    return int(worst > limit)


if __name__ == "__main__":
    sys.exit(main())
