"""MLflow's tracking server, an API for runs as ours is one for jobs: the other side of the table.

It is installed in an environment of its own (`mlflow`, `psycopg2-binary`), whose Python is named.
"""

import contextlib
import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from npas_local.processes import Child, Program
from npas_local.testing import any_port
from npas_store.settings import settings

from benchmarks.api.load import NUMBER
from benchmarks.api.system import Requests, System, psql

_DATABASE = "mlflow"
_PATH = "/api/2.0/mlflow"
_TRIES = 5


@contextmanager
def mlflow(python: Path, processes: int) -> Iterator[System]:
    """Run its server for the length of the block, on the Postgres of the settings.

    Args:
        python: of the environment that it is installed in.
    """
    url = settings().database_url or ""
    psql(url, f"CREATE DATABASE {_DATABASE}")
    own = urlsplit(url)._replace(scheme="postgresql+psycopg2", path=f"/{_DATABASE}").geturl()
    port = any_port()
    command: list[str | Path] = [
        *(python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", str(processes), "--default-artifact-root", str(settings().home / "mlruns")),
        *("--backend-store-uri", own),
    ]
    log = settings().home / "logs" / "mlflow.log"
    child = Child(Program("mlflow", command, log=log, environment={"PATH": f"{python.parent}"}))
    system = System(
        name="MLflow", port=port, create=Requests.same(_create()), table=_DATABASE + ".runs"
    )
    child.start()
    try:
        child.wait_until(lambda: system.answers("/health"), seconds=300)
        yield system
    finally:
        child.stop()


def _create() -> tuple[str, str, str]:
    tags = [{"key": "mlflow.runName", "value": f"run {NUMBER.decode()}"}]
    tags += [{"key": key, "value": value} for key, value in (("team", "vision"), ("owner", "me"))]
    body = {"experiment_id": "0", "start_time": 1_760_000_000_000, "tags": tags}
    return ("POST", f"{_PATH}/runs/create", json.dumps(body))


def reads(system: System, epochs: tuple[int, ...]) -> dict[str, Requests]:
    """Make runs with curves, and return the requests that read.

    Args:
        epochs: of each curve.
    """
    runs = [_run(system, number) for number in epochs]
    search = {
        "experiment_ids": ["0"],
        "max_results": 20,
        "order_by": ["attributes.start_time DESC"],
    }
    found = {
        "list": Requests.same(("POST", f"{_PATH}/runs/search", json.dumps(search))),
        "get": Requests.same(("GET", f"{_PATH}/runs/get?run_id={runs[0]}", "")),
    }
    for number, run in zip(epochs, runs, strict=True):
        path = f"{_PATH}/metrics/get-history?run_id={run}&metric_key=loss&max_results={number}"
        found[f"metrics, {number:,} rows"] = Requests.same(("GET", path, ""))
    return found


def _run(system: System, epochs: int) -> str:
    """Make a run with a curve, and return its id."""
    made = _post(system, "runs/create", {"experiment_id": "0", "start_time": 1_760_000_000_000})
    run_id = str(made["run"]["info"]["run_id"])
    for begin in range(0, epochs, 500):
        rows = [
            {"key": "loss", "value": 1 / (1 + step), "timestamp": 1_760_000_000_000, "step": step}
            for step in range(begin, min(begin + 500, epochs))
        ]
        _post(system, "runs/log-batch", {"run_id": run_id, "metrics": rows})
    return run_id


def _post(system: System, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{system.port}{_PATH}/{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    for _ in range(_TRIES):
        with contextlib.suppress(ConnectionError), urllib.request.urlopen(request) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found
        time.sleep(1)  # one of its processes was started again
    raise RuntimeError(f"{system.name} does not answer {path}")
