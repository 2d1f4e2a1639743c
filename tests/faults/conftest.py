"""A service of its own for each test, to be broken: servers, workers, and what kills them."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import npas
import pytest
from npas.spec import JobSpec
from npas_local import embedded
from npas_local.processes import Child, Program
from npas_local.testing import any_port, parent, tend, trainings
from npas_store import artifacts, blobs, broker, events, jobs, listings, migrate
from npas_store.database import UNREACHABLE, reading, transaction
from npas_store.states import is_terminal
from npas_store.tables import Job
from sqlalchemy import text

DEADLINE_SECONDS = 1200  # of a machine that does much else
LEASE_SECONDS = 5

REQUEST = {
    "architecture": "resnet-8",
    "budget": {"fraction": 0.6},
    "method": "superweights",
    "dataset": {"name": "digits", "train_images": 160, "test_images": 100},
    "training": {"epochs": 80, "batch_size": 32, "learning_rate": 0.05},
    "seed": 3,
}

SETTINGS = {
    "NPAS_LEASE_SECONDS": str(LEASE_SECONDS),
    "NPAS_RETRY_SECONDS": "0.1",
    "NPAS_RENOTIFY_SECONDS": "2",
    "NPAS_CHECKPOINT_SECONDS": "0",
    "NPAS_THREADS": "1",
    "NPAS_DEVICE": "cpu",
}


class Service:
    """A running service; `until` keeps it alive: notifies, reaps, starts again what died."""

    def __init__(self, home: Path, servers: embedded.Servers) -> None:
        """Take over servers that run; there is no worker yet."""
        self.home, self.servers = home, servers
        self.workers: list[Child] = []

    def keep_workers(self, count: int) -> None:
        """Have so many workers: start new ones, or stop the last ones."""
        while len(self.workers) < count:
            log = self.home / "logs" / f"worker-{len(self.workers)}.log"
            self.workers.append(
                Child(Program("worker", [sys.executable, "-m", "npas_worker"], log=log))
            )
            self.workers[-1].start()
        while len(self.workers) > count:
            self.workers.pop().stop()

    def submit(self, **changes: object) -> str:
        """Queue the job of these tests, changed as given; return its id."""
        spec = JobSpec.model_validate({**REQUEST, **changes})
        with transaction() as session:
            return jobs.create(session, spec, npas.plan(spec)).id

    def job(self, job_id: str) -> Job:
        """Return the job as it is now, however long Postgres is away."""
        while True:
            try:
                with reading() as session:
                    return jobs.get(session, job_id)
            except UNREACHABLE:
                self.round()

    def round(self) -> None:
        """Do what the API's loops and `npas_local.serve` do all the time, once."""
        tend([*self.servers.children.values(), *self.workers])

    def until(self, job_id: str, holds: Callable[[Job], bool]) -> Job:
        """Let the service live until something holds for a job; return the job."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not holds(job := self.job(job_id)):
            assert not is_terminal(job.state), self.story(job_id)
            assert time.monotonic() < deadline, self.story(job_id)
            self.round()
        return job

    def until_end(self, job_id: str) -> Job:
        """Let the service live until a job has ended; return the job."""
        return self.until(job_id, lambda job: is_terminal(job.state))

    def until_silence(self) -> None:
        """Let the service live until every message was heard."""
        while broker.waiting():
            self.round()

    def until_random_moment(self, job_id: str, *, within: float = 0.8) -> float:
        """Stop somewhere in the midst of the training; return where.

        Args:
            within: the share of the job in which the moment lies, from where it is now.
        """
        now = self.until(job_id, self.is_training).progress
        # Progress is written twice a second: nearer to the end, the job could slip away unseen.
        moment = min(now + random.uniform(0, within), 0.8)
        self.until(job_id, lambda job: self.is_training(job) and job.progress >= moment)
        return moment

    def trainings(self, job_id: str) -> dict[int, int]:
        """Return the processes that train a job, by the number of their claim."""
        return {
            claim_number: pid for (job, claim_number), pid in trainings().items() if job == job_id
        }

    def is_training(self, job: Job) -> bool:
        """Tell whether a job is past its preparations, in a process that lives."""
        started = job.state == "running" and job.phase in ("searching", "training")
        return started and job.claim_number in self.trainings(job.id)

    def training(self, job_id: str) -> int:
        """Return the process that trains a job; of several, the newest claim's."""
        found = self.trainings(job_id)
        return found[max(found)]

    def supervisor(self, job_id: str) -> int:
        """Return the process that supervises it."""
        return parent(self.training(job_id))

    def model(self, job_id: str) -> bytes:
        """Return the delivered network, byte for byte."""
        with reading() as session:
            found = artifacts.find(session, job_id, "model.safetensors")
            assert found is not None, [a.name for a in artifacts.listing(session, job_id)]
        return blobs.path(found.sha256).read_bytes()

    def story(self, job_id: str) -> str:
        """Return what happened to a job, for a test that failed."""
        with reading() as session:
            told = events.after(session, job_id)
        lines = [f"{event.at:%H:%M:%S.%f} {event.message}" for event in told]
        logs = [*self.home.glob("logs/worker-*.log"), *self.home.glob("jobs/*/*.log")]
        lines += [f"--- {log.name}\n{log.read_text()[-3000:]}" for log in logs]
        return "\n".join(lines)

    def states(self, job_id: str) -> list[str]:
        """Return all states that a job went through."""
        with reading() as session:
            return [row.to_state for row in listings.histories(session, [job_id])[job_id]]


@contextmanager
def _service(in_environment) -> Iterator[Service]:
    with (
        tempfile.TemporaryDirectory(prefix="npas-faults-") as folder,
        _service_in(Path(folder), in_environment) as service,
    ):
        yield service


@contextmanager
def _service_in(home: Path, in_environment) -> Iterator[Service]:
    with embedded.running(home) as servers:
        place = {
            "NPAS_HOME": str(home),
            "NPAS_DATABASE_URL": servers.database_url,
            "NPAS_REDIS_URL": servers.redis_url,
        }
        with in_environment(**SETTINGS, **place):
            migrate.upgrade()
            service = Service(home, servers)
            try:
                yield service
            finally:
                service.keep_workers(0)


@pytest.fixture(scope="module")  # longer, and its settings would be those of other tests
def _running(in_environment) -> Iterator[Service]:
    with _service(in_environment) as made:
        yield made


@pytest.fixture
def service(_running) -> Iterator[Service]:
    """A service with one worker and no job; it may be left in ruins."""
    _running.keep_workers(1)
    with transaction() as session:
        session.execute(text("TRUNCATE jobs, outbox CASCADE"))
    yield _running
    _running.keep_workers(1)


@pytest.fixture(scope="module")
def undisturbed(_running) -> bytes:
    """The network that the job delivers when nothing goes wrong."""
    _running.keep_workers(1)
    job_id = _running.submit()
    job = _running.until_end(job_id)
    assert (job.state, job.claim_number) == ("succeeded", 1), _running.story(job_id)
    return _running.model(job_id)


class Up:
    """`python -m npas_local.serve` on a folder.

    Attributes:
        process: that was started.
        said: its lines on standard output, so far.
    """

    def __init__(self, home: Path, **settings: str) -> None:
        """Start it with no other settings than these."""
        without = {name: value for name, value in os.environ.items() if "NPAS_" not in name}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "npas_local.serve"],
            env={**without, "NPAS_HOME": str(home), "NPAS_PORT": "0", **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        """Collect what is said, until there is no more."""
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            self.said.extend(stream)

    def until_said(self, words: str) -> str:
        """Wait until a line has words in it; return the line."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (found := [line for line in self.said if words in line]):
            assert self.reader.is_alive(), (self.said, self.end())
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)
        return found[0]

    def url(self) -> str:
        """Wait until the API answers; return its address."""
        line = self.until_said("npas is ready: http://127.0.0.1:")
        assert self.said[0] == "npas is starting\n"
        return line.split()[-1]

    def end(self, number: int = 0) -> tuple[int, str, str]:
        """Send a signal; return exit code, standard output and standard error."""
        self.process.send_signal(number)
        self.process.wait(timeout=300)
        self.reader.join()
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            error = stream.read()
        return self.process.returncode, "".join(self.said), error


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder for one service."""
    with tempfile.TemporaryDirectory(prefix="npas-up-") as folder:
        yield Path(folder)


@pytest.fixture
def up(home: Path) -> Iterator[Callable[..., Up]]:
    """Start the whole service on the folder; what still runs in the end is killed."""
    started: list[Up] = []

    def start(**settings: str) -> Up:
        started.append(Up(home, **settings))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.end(signal.SIGKILL)


@pytest.fixture
def api(store: Path) -> Iterator[tuple[Child, str]]:
    """An API that is started again whenever it dies; yields its process and its address."""
    port = any_port()
    told = {"NPAS_PORT": str(port), "NPAS_RETRY_SECONDS": "0.1", "NPAS_LEASE_SECONDS": "3"}
    command, log = [sys.executable, "-m", "npas_api"], store / "logs" / "api.log"
    child = Child(Program("api", command, log=log, environment={**os.environ, **told}))
    over = threading.Event()

    def keep_alive() -> None:  # in one thread to the end: who started it must outlive it
        while not over.wait(0.02):
            if not child.is_alive():
                child.start()
        child.stop()

    thread = threading.Thread(target=keep_alive, daemon=True)
    thread.start()
    yield child, f"http://127.0.0.1:{port}"
    over.set()
    thread.join()
