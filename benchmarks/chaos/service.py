"""The service that the storm is over: servers, API, workers; started again when they die."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from npas_local import embedded
from npas_local.environment import environment
from npas_local.processes import Child, Program
from npas_local.serve import free_port
from npas_local.testing import parent, trainings
from npas_store import jobs, migrate
from npas_store.database import UNREACHABLE, reading
from npas_store.settings import settings
from npas_store.states import is_terminal
from npas_store.tables import Job

from benchmarks.chaos.machine import Disk

LEASE_SECONDS = 5
_PAUSE = 0.1  # seconds
_PATIENCE_SECONDS = 600.0
_CLOCK = Path(__file__).with_name("clock")

SETTINGS = {
    "NPAS_LEASE_SECONDS": str(LEASE_SECONDS),
    "NPAS_ANSWER_SECONDS": "4",
    "NPAS_RETRY_SECONDS": "0.1",
    "NPAS_RENOTIFY_SECONDS": "2",
    "NPAS_CHECKPOINT_SECONDS": "0",
    "NPAS_MAX_ATTEMPTS": "50",
    "NPAS_THREADS": "1",
    "NPAS_DEVICE": "cpu",
}


def request(method: str, *, epochs: int) -> dict[str, Any]:
    """Return the job of a method."""
    return {
        "architecture": "resnet-8",
        "budget": {"fraction": 1.0 if method == "dense" else 0.6},
        "method": method,
        "dataset": {"name": "digits", "train_images": 200, "test_images": 50},
        "training": {"epochs": epochs, "batch_size": 32, "learning_rate": 0.05},
        "seed": 3,
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A claim at some moment, and the processes that hold it.

    Attributes:
        job: as it was.
        stage: how far the training was, see `stage_of`.
        training: process that trains.
        supervisor: its parent, a worker's pool process.
        worker: the parent of that, the worker's main process.
    """

    job: Job
    stage: str
    training: int
    supervisor: int
    worker: int


class Service:
    """A service whose every part may die; `round` keeps it alive.

    Attributes:
        disk: with its folder.
        servers: Postgres and Redis.
        workers: two of them.
        api: one.
        clock: file that says by how many seconds the clocks of API and workers are wrong.
        left: methods of the jobs that are still to be asked for.
        methods: of the jobs that were, by id.
        cancelled: ids of jobs whose end was asked for.
        hit: digests of delivered files that were damaged or deleted.
    """

    def __init__(
        self, disk: Disk, servers: embedded.Servers, folder: Path, *, epochs: int
    ) -> None:
        """Start API and workers beside servers that run.

        Args:
            disk: of the service's files.
            servers: that run.
            folder: for logs, and what else is not the service's own.
            epochs: of each training.
        """
        self.disk, self.servers = disk, servers
        self.clock, self._logs, self._epochs = folder / "clock", folder / "logs", epochs
        self.workers = [self.program("npas_worker", f"worker-{n}") for n in range(2)]
        self.api = self.program("npas_api", "api")
        self.left: list[str] = []
        self.methods: dict[str, str] = {}
        self.cancelled: set[str] = set()
        self.hit: set[str] = set()
        for child in self._own():
            child.start()

    def program(self, module: str, name: str, **changes: str) -> Child:
        """Return a program of the service, not started yet, with settings of its own."""
        paths = os.pathsep.join(filter(None, (str(_CLOCK), os.environ.get("PYTHONPATH"))))
        place = {**os.environ, "PYTHONPATH": paths, "CHAOS_CLOCK": str(self.clock), **changes}
        command = [sys.executable, "-m", module]
        log = self._logs / f"{name}.log"
        return Child(Program(name, command, log=log, environment=place, patience_seconds=60))

    def _own(self) -> list[Child]:
        return [self.api, *self.workers]

    def stop(self) -> None:
        """End API and workers."""
        for child in self._own():
            child.ask_to_stop()
        for child in self._own():
            child.stop()

    def round(self) -> None:
        """Keep it alive for a moment."""
        for child in (*self.servers.children.values(), *self._own()):
            child.tend()
        time.sleep(_PAUSE)

    def live_for(self, seconds: float) -> None:
        """Keep it alive for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.round()

    def submit(self) -> None:
        """Ask for the next job that is left, under a key, until the API answers."""
        method = self.left.pop()
        key = f"chaos-{len(self.methods)}"
        made = self.post("/v1/jobs", request(method, epochs=self._epochs), key=key)
        self.methods[made["id"]] = method

    def cancel(self, job_id: str) -> None:
        """Ask for a job's end until the API answers."""
        self.cancelled.add(job_id)
        self.post(f"/v1/jobs/{job_id}/cancel")

    def post(self, path: str, body: Any = None, *, key: str | None = None) -> dict[str, Any]:
        """Send a request again and again until it is answered as it should be.

        Raises:
            TimeoutError: it never is.
        """
        headers = {} if key is None else {"Idempotency-Key": key}
        give_up, last = time.monotonic() + _PATIENCE_SECONDS, ""
        while time.monotonic() < give_up:
            try:
                url = f"http://127.0.0.1:{settings().port}{path}"
                answer = httpx.post(url, json=body, headers=headers, timeout=10)
                if answer.status_code == 202:
                    found: dict[str, Any] = answer.json()
                    return found
                last = answer.text
            except httpx.TransportError as error:
                last = str(error)
            self.round()
        raise TimeoutError(f"POST {path}: {last}")

    def live(self) -> list[Job]:
        """Return the jobs that have not ended, however long Postgres is away."""
        while True:
            try:
                with reading() as session:
                    found = [jobs.get(session, job_id) for job_id in self.methods]
                    return [job for job in found if not is_terminal(job.state)]
            except UNREACHABLE:
                self.round()

    def targets(self) -> list[Target]:
        """Return every claim that a process holds now."""
        running, found = trainings(), []
        for job in self.live():
            training = running.get((job.id, job.claim_number))
            stage = stage_of(job, training)
            if training is None or not stage:
                continue
            try:
                supervisor = parent(training)
                worker = parent(supervisor)
            except FileNotFoundError:
                continue
            found.append(
                Target(
                    job=job, stage=stage, training=training, supervisor=supervisor, worker=worker
                )
            )
        return found


def stage_of(job: Job, training: int | None) -> str:
    """Return how far the process of a claim is; "" if there is none."""
    if training is None:
        return ""
    if job.phase in ("evaluating", "publishing"):
        return "publishing"
    if job.phase in ("searching", "training"):
        return "training"
    try:
        began = int(Path(f"/proc/{training}/stat").read_text().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return ""
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - began / os.sysconf("SC_CLK_TCK")
    return "fork" if age < 1 else "start"


@contextmanager
def running(folder: Path, *, epochs: int) -> Iterator[Service]:
    """Run a service below an empty folder; its files are on a disk of their own.

    Args:
        folder: for everything.
        epochs: of each training.
    """
    disk = Disk(folder / "home")
    try:
        with embedded.running(folder / "servers") as servers:
            place = {
                **SETTINGS,
                "NPAS_HOME": str(disk.folder),
                "NPAS_DATABASE_URL": servers.database_url,
                "NPAS_REDIS_URL": servers.redis_url,
                "NPAS_PORT": "0",
            }
            with environment(**place), environment(NPAS_PORT=str(free_port(settings()))):
                migrate.upgrade()
                service = Service(disk, servers, folder, epochs=epochs)
                try:
                    yield service
                finally:
                    service.stop()
    finally:
        disk.unmount()
