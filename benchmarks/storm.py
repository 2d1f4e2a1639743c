"""`kill -9` of anything, at seeded moments from the fork of a training to its last transaction.

Every job must succeed once, with the files of an undisturbed run, byte for byte.

    python -m benchmarks.storm --jobs 30 --faults 100 --seed 1
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import npas
from npas.spec import JobSpec
from npas_local import embedded
from npas_local.processes import Child, Program
from npas_local.testing import environment, parent, tend, trainings
from npas_store import artifacts, jobs, listings, migrate
from npas_store.database import UNREACHABLE, reading, transaction
from npas_store.states import is_terminal
from npas_store.tables import Artifact, Attempt, Job

VICTIMS = ("postgres", "redis", "worker", "supervisor", "training")
STAGES = ("fork", "start", "training", "publishing")
METHODS = ("superweights", "dense", "uniform")
SAME = ("model.safetensors", "plan.json")
"""Files that do not tell how long something took."""
_LONGEST_WAIT = 20.0  # seconds for a stage to come, then the fault strikes whatever there is
_LONGEST_CALM = 3600.0  # seconds

SETTINGS = {
    "NPAS_LEASE_SECONDS": "5",
    "NPAS_RETRY_SECONDS": "0.1",
    "NPAS_RENOTIFY_SECONDS": "2",
    "NPAS_CHECKPOINT_SECONDS": "0",
    "NPAS_MAX_ATTEMPTS": "50",
    "NPAS_THREADS": "1",
    "NPAS_DEVICE": "cpu",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One kill: what died, at which stage of which claim."""

    victim: str
    stage: str
    job_id: str
    claim_number: int


def spec(method: str, *, epochs: int) -> JobSpec:
    """Return the job of a method."""
    return JobSpec.model_validate(
        {
            "architecture": "resnet-8",
            "budget": {"fraction": 1.0 if method == "dense" else 0.6},
            "method": method,
            "dataset": {"name": "digits", "train_images": 200, "test_images": 50},
            "training": {"epochs": epochs, "batch_size": 32, "learning_rate": 0.05},
            "seed": 3,
        }
    )


class Storm:
    """A service with workers, all of which may be killed; `round` keeps it alive."""

    def __init__(self, home: Path, servers: embedded.Servers, *, workers: int, seed: int) -> None:
        """BankInit the workers of servers that run.

        Args:
            workers: how many.
            seed: of all that is left to chance.
        """
        self._servers, self._chance = servers, random.Random(seed)
        self._workers = [
            Child(
                Program(
                    "worker",
                    [sys.executable, "-m", "npas_worker"],
                    log=home / f"logs/worker-{n}.log",
                )
            )
            for n in range(workers)
        ]
        for worker in self._workers:
            worker.start()
        self._asked: list[str] = []
        self.faults: list[Fault] = []

    def stop(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.ask_to_stop()
        for worker in self._workers:
            worker.stop()

    def submit(self, method: str, *, epochs: int) -> str:
        """Queue the job of a method; return its id."""
        wanted = spec(method, epochs=epochs)
        with transaction() as session:
            made = jobs.create(session, wanted, npas.plan(wanted)).id
        self._asked.append(made)
        return made

    def round(self) -> None:
        """Keep it alive for a moment."""
        tend([*self._servers.children.values(), *self._workers])

    def live(self) -> list[Job]:
        """Return the jobs that have not ended, however long Postgres is away."""
        while True:
            try:
                with reading() as session:
                    found = [jobs.get(session, job_id) for job_id in self._asked]
                    return [job for job in found if not is_terminal(job.state)]
            except UNREACHABLE:
                self.round()

    def until_calm(self) -> None:
        """Let the service live until every job has ended.

        Raises:
            TimeoutError: some never do.
        """
        give_up = time.monotonic() + _LONGEST_CALM
        while waiting := self.live():
            if time.monotonic() > give_up:
                raise TimeoutError(str([(job.id, job.state, job.reason) for job in waiting]))
            self.round()

    def strike(self) -> bool:
        """Kill something at some stage of some training; return whether there was any left."""
        victim, stage = self._chance.choice(VICTIMS), self._chance.choice(STAGES)
        give_up = time.monotonic() + _LONGEST_WAIT
        while waiting := self.live():
            found = [job for job in waiting if stage_of(job) == stage]
            if not found and time.monotonic() > give_up:
                found = [job for job in waiting if stage_of(job)]
            if found:
                job = self._chance.choice(found)
                time.sleep(self._chance.uniform(0, 0.5))
                if self._kill(victim, job):
                    reached = stage_of(job) or stage
                    self.faults.append(
                        Fault(
                            victim=victim,
                            stage=reached,
                            job_id=job.id,
                            claim_number=job.claim_number,
                        )
                    )
                    return True
            self.round()
        return False

    def _kill(self, victim: str, job: Job) -> bool:
        training = trainings().get((job.id, job.claim_number))
        if training is None:
            return False
        try:
            supervisor = parent(training)
            main = parent(supervisor)
            servers = {name: child.pid for name, child in self._servers.children.items()}
            places = {**servers, "training": training, "supervisor": supervisor, "worker": main}
            os.kill(places[victim], signal.SIGKILL)
        except (ProcessLookupError, FileNotFoundError):
            return False
        return True


def stage_of(job: Job) -> str:
    """Return how far the process of a claim is; "" if there is none."""
    pid = trainings().get((job.id, job.claim_number))
    if pid is None:
        return ""
    if job.phase in ("evaluating", "publishing"):
        return "publishing"
    if job.phase in ("searching", "training"):
        return "training"
    try:
        began = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except FileNotFoundError:
        return ""
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - began / os.sysconf("SC_CLK_TCK")
    return "fork" if age < 1 else "start"


@contextmanager
def service(home: Path, *, workers: int, seed: int) -> Iterator[Storm]:
    """Run servers and workers on a folder; the settings must be those of `place`."""
    with embedded.running(home) as servers:
        place = {
            **SETTINGS,
            "NPAS_HOME": str(home),
            "NPAS_DATABASE_URL": servers.database_url,
            "NPAS_REDIS_URL": servers.redis_url,
        }
        with environment(**place):
            migrate.upgrade()
            storm = Storm(home, servers, workers=workers, seed=seed)
            try:
                yield storm
            finally:
                storm.stop()


def delivered(job_id: str) -> dict[str, str]:
    """Return the digests of the files that a job delivered and that do not tell times."""
    with reading() as session:
        rows: Sequence[Artifact] = artifacts.listing(session, job_id)
        return {row.name: row.sha256 for row in rows if row.name in SAME}


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a storm did.

    Attributes:
        faults: by victim, stage and what became of the claim that was hit.
        wrong: what should not have happened, one sentence each.
        num_jobs: that succeeded once, with the right files.
    """

    faults: Counter[tuple[str, str, str]]
    wrong: list[str]
    num_jobs: int

    def table(self) -> str:
        """Return the faults by victim and stage as a Markdown table, a column an outcome."""
        ends = sorted({end for *_, end in self.faults})
        rows = sorted({(victim, stage) for victim, stage, _ in self.faults})
        head = [f"| killed | stage | {' | '.join(ends)} |", "|---|---|" + "---|" * len(ends)]
        return "\n".join(
            head
            + [
                f"| {victim} | {stage} | "
                + " | ".join(str(self.faults[victim, stage, end]) for end in ends)
                + " |"
                for victim, stage in rows
            ]
        )


def run(home: Path, *, num_jobs: int, num_faults: int, seed: int, epochs: int) -> Outcome:
    """Run a storm on an empty folder.

    Args:
        num_jobs: in the storm; the undisturbed ones come on top.
        num_faults: at most; fewer if the jobs end before.
        epochs: of each training.
    """
    with service(home, workers=2, seed=seed) as storm:
        calm = {method: storm.submit(method, epochs=epochs) for method in METHODS[:num_jobs]}
        storm.until_calm()
        right = {method: delivered(job_id) for method, job_id in calm.items()}
        order = [METHODS[n % len(METHODS)] for n in range(num_jobs)]
        asked = [(storm.submit(method, epochs=epochs), method) for method in order]
        while len(storm.faults) < num_faults and storm.strike():
            pass
        storm.until_calm()
        return _judged(storm.faults, asked, right)


def _judged(
    faults: Sequence[Fault], asked: Sequence[tuple[str, str]], right: dict[str, dict[str, str]]
) -> Outcome:
    wrong: list[str] = []
    for job_id, method in asked:
        with reading() as session:
            job = jobs.get(session, job_id)
            states = [row.to_state for row in listings.histories(session, [job_id])[job_id]]
        if job.state != "succeeded" or states.count("succeeded") != 1:
            wrong.append(f"{job_id} went through {states}: {job.reason}")
        elif len(right[method]) < len(SAME) or delivered(job_id) != right[method]:
            wrong.append(f"{job_id} ({method}) delivered other files")
    with reading() as session:
        rows = [row for job_id, _ in asked for row in jobs.attempts(session, job_id)]
    attempts = {(row.job_id, row.claim_number): row for row in rows}
    ends = Counter((f.victim, f.stage, _end(attempts, f)) for f in faults)
    return Outcome(faults=ends, wrong=wrong, num_jobs=len(asked) - len(wrong))


def _end(attempts: dict[tuple[str, int], Attempt], fault: Fault) -> str:
    hit = attempts[fault.job_id, fault.claim_number]
    if hit.outcome == "succeeded":
        return "unnoticed"
    after = [
        a
        for (job, claim_number), a in attempts.items()
        if job == fault.job_id and claim_number > fault.claim_number
    ]
    if not after:
        return f"ended: {hit.outcome}"
    # The next claim may itself be lost before it has read a file.
    return "went on from a file" if any(a.resumed_from_step for a in after) else "began again"


def main() -> int:
    """Run a storm and print what it did; 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=30)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=200)
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="npas-storm-", ignore_cleanup_errors=True) as folder:
        outcome = run(
            Path(folder),
            num_jobs=asked.jobs,
            num_faults=asked.faults,
            seed=asked.seed,
            epochs=asked.epochs,
        )
    told = [outcome.table(), "", *outcome.wrong]
    told.append(
        f"{outcome.num_jobs} of {asked.jobs} jobs succeeded once with the undisturbed files, "
        f"{sum(outcome.faults.values())} faults, {time.monotonic() - began:.0f} s"
    )
    sys.stdout.write("\n".join(told) + "\n")
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
