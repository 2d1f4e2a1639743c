"""Requests a second of our API beside MLflow's on the same Postgres: `python -m benchmarks.api`.

First the tables: rates and 99th percentiles by operation and clients, medians of several runs in
which the two take turns. Then hundreds of watchers of event streams that lose their connections,
while jobs report and somebody reads a job. The clients run on the same machine as the servers.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import npas
from npas.spec import JobSpec
from npas_local import embedded
from npas_local.environment import environment
from npas_local.processes import Child, Program
from npas_local.testing import any_port
from npas_store import jobs, metrics, migrate
from npas_store.database import transaction
from npas_store.settings import settings

from benchmarks.api import peer
from benchmarks.api.load import NUMBER, Measured
from benchmarks.api.system import Requests, System, processes_below
from benchmarks.api.watchers import Watching, ended, started
from benchmarks.timing import publish

ASKED = {"architecture": "resnet-8", "budget": 80_000, "dataset": "digits", "method": "ssn"}
EPOCHS = (100, 10_000)
"""Rows of the curves that are read."""
MEGABYTE = 1 << 20


@contextmanager
def ours(home: Path, processes: int) -> Iterator[tuple[System, Child]]:
    """Run our API for the length of the block."""
    port = any_port()
    told = {"NPAS_PORT": str(port), "NPAS_API_PROCESSES": str(processes)}
    child = Child(
        Program(
            "api",
            [sys.executable, "-m", "npas_api"],
            log=home / "logs" / "api.log",
            environment={**os.environ, **told},
        )
    )
    body = json.dumps({**ASKED, "labels": {"team": "vision", "run": NUMBER.decode()}})
    create = Requests.same(("POST", "/v1/jobs", body))
    system = System(
        name="npas",
        port=port,
        create=create,
        table=urlsplit(settings().database_url or "").path[1:] + ".jobs",
    )
    child.start()
    try:
        for _ in range(10 * processes):  # each process that takes one of these is ready
            child.wait_until(lambda: system.answers("/readyz"), seconds=300)
        yield system, child
    finally:
        child.stop()


def reads() -> dict[str, Requests]:
    """Make jobs with curves, and return the requests that read."""
    made = [_job(number) for number in EPOCHS]
    found = {
        "list": Requests.same(("GET", "/v1/jobs?limit=20", "")),
        "get": Requests.same(("GET", f"/v1/jobs/{made[0]}", "")),
    }
    for number, job_id in zip(EPOCHS, made, strict=True):
        path = f"/v1/jobs/{job_id}/metrics"
        found[f"metrics, {number:,} rows"] = Requests.same(("GET", path, ""))
    return found


def _job(epochs: int) -> str:
    spec = JobSpec.model_validate(ASKED)
    with transaction() as session:
        job_id = jobs.create(session, spec, npas.plan(spec)).id
    for begin in range(0, epochs, 500):
        _report(job_id, range(begin + 1, min(begin + 500, epochs) + 1))
    return job_id


def _report(job_id: str, epochs: Sequence[int]) -> None:
    rows = [
        {"stage": "train", "epoch": epoch, "loss": 1 / epoch, "accuracy": 0.5, "seconds": 1.0}
        for epoch in epochs
    ]
    with transaction() as session:
        metrics.record_all(session, job_id, rows)


def new_plans(number: int) -> Requests:
    """Return requests of which each has to be planned."""
    bodies = [json.dumps({**ASKED, "budget": 60_000 + each}) for each in range(number)]
    return Requests(each=[("POST", "/v1/jobs", body) for body in bodies])


def compare(
    operations: dict[str, dict[str, Requests]],
    systems: Sequence[System],
    *,
    clients: Sequence[int],
    runs: int,
    seconds: float,
) -> Iterator[str]:
    """Measure each operation of each system and yield the lines of a table."""
    yield (
        "| operation | clients | "
        + " | ".join(f"{system.name}, a second | p99, ms" for system in systems)
        + " | ratio | p99 ratio |"
    )
    yield "|---|---|" + "---|---|" * len(systems) + "---|---|"
    for operation, requests in operations.items():
        for count in clients:
            found: dict[str, list[Measured]] = {system.name: [] for system in systems}
            for _ in range(runs):
                for system in systems:
                    if system.name in requests:
                        asked = requests[system.name]
                        measured = system.measure(asked, clients=count, seconds=seconds)
                        found[system.name].append(measured)
            yield _line(operation, count, list(found.values()))
            print(operation, count, file=sys.stderr, flush=True)


def _line(operation: str, clients: int, found: Sequence[Sequence[Measured]]) -> str:
    cells, rates, tails = [], [], []
    for runs in found:
        if not runs:
            cells.append("- | -")
            continue
        rates.append(statistics.median(run.rate for run in runs))
        tails.append(statistics.median(run.p99_ms for run in runs))
        failed = sum(run.failed for run in runs)
        note = f" ({failed} failed: {runs[0].first_failure[:60]})" if failed else ""
        cells.append(f"{rates[-1]:.0f}{note} | {tails[-1]:.0f}")
    both = len(rates) == 2 and rates[1] and tails[1]
    ratios = f"{rates[0] / rates[1]:.1f} | {tails[0] / tails[1]:.2f}" if both else "- | -"
    return f"| {operation} | {clients} | {' | '.join(cells)} | {ratios} |"


def watch(system: System, child: Child, *, watchers: int, seconds: float) -> Iterator[str]:
    """Have many watch jobs that report, read one meanwhile, and yield what came of it."""
    made = [_job(0) for _ in range(20)]
    before = _megabytes(child)
    watching = Watching(port=system.port, jobs=made, watchers=watchers, stays=10.0)
    process = started(watching)
    over = time.monotonic() + seconds
    reader = _Reader(system, made[0], seconds)
    epoch = 0
    while time.monotonic() < over:
        epoch += 1
        for job_id in made:
            _report(job_id, [epoch])
        time.sleep(0.25)
    measured = reader.result()
    with transaction() as session:
        for job_id in made:
            jobs.request_cancel(session, job_id)
    seen = ended(process)
    events = sum(seen.last.values())
    yield (
        f"{watchers} watchers of {len(made)} jobs, {seconds:.0f} s: {seen.events:,} events "
        f"received of {events:,} written, {seen.reconnects:,} reconnects, "
        f"{len(seen.faults)} faults"
    )
    yield f"GET of a job meanwhile: p50 {measured.p50_ms:.0f} ms, p99 {measured.p99_ms:.0f} ms"
    yield f"peak memory of a process of the API, MB: {before} before, {_megabytes(child)} after"
    yield from seen.faults[:10]


class _Reader:
    """Reads a job 20 times a second, in a thread, over four connections."""

    def __init__(self, system: System, job_id: str, seconds: float) -> None:
        self._pool = ThreadPoolExecutor(1)
        asked = Requests.same(("GET", f"/v1/jobs/{job_id}", ""))
        self._future = self._pool.submit(
            system.measure, asked, clients=4, seconds=seconds, pause=0.2
        )

    def result(self) -> Measured:
        with self._pool:
            return self._future.result()


def _megabytes(child: Child) -> list[int]:
    """Return the peak memory of the processes that serve, not of their planners."""
    found = []
    for pid in processes_below(child.pid):
        with contextlib.suppress(OSError):
            if b"npas_api\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                status = Path(f"/proc/{pid}/status").read_text()
                found.append(int(status.split("VmHWM:")[1].split()[0]) * 1024 // MEGABYTE)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mlflow", type=Path, help="Python that has mlflow and psycopg2")
    parser.add_argument("--processes", type=int, default=2, help="of each API")
    parser.add_argument("--rows", type=int, default=10_000, help="of jobs, and of runs")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--watchers", type=int, default=500)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    parser.add_argument("--watch-seconds", type=float, default=60.0)
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="npas-api-")))
        servers = stack.enter_context(embedded.running(home))
        addresses = {
            "NPAS_DATABASE_URL": servers.database_url,
            "NPAS_REDIS_URL": servers.redis_url,
        }
        stack.enter_context(environment(NPAS_HOME=str(home), **addresses))
        migrate.upgrade()
        _measure(stack, home, given)


def _measure(stack: contextlib.ExitStack, home: Path, given: argparse.Namespace) -> None:
    own, child = stack.enter_context(ours(home, given.processes))
    systems = [own]
    asked = {name: {own.name: requests} for name, requests in reads().items()}
    if given.mlflow:
        other = stack.enter_context(peer.mlflow(given.mlflow, given.processes))
        systems.append(other)
        for name, requests in peer.reads(other, EPOCHS).items():
            asked[name][other.name] = requests
    for system in systems:
        system.fill(given.rows)
    asked["create"] = {system.name: system.create for system in systems}
    asked["create, each planned anew"] = {own.name: new_plans(20_000)}
    lines = [f"npas and MLflow with {given.processes} processes each, {given.rows:,} rows", ""]
    lines += compare(asked, systems, clients=given.clients, runs=given.runs, seconds=given.seconds)
    told = watch(own, child, watchers=given.watchers, seconds=given.watch_seconds)
    lines += ["", *(f"* {line}" for line in told)]
    publish("api", "\n".join(lines), write=given.write)


if __name__ == "__main__":
    main()
