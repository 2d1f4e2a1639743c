"""`python -m npas_api`, as a process: it serves, does its chores, and ends when asked to."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from npas_api.__main__ import GRACE_SECONDS
from npas_local.testing import any_port
from npas_store import broker
from npas_store.database import transaction
from npas_store.tables import Job
from sqlalchemy import func, text, update

pytestmark = pytest.mark.usefixtures("store")

COMMAND = [sys.executable, "-m", "npas_api"]


@contextmanager
def running(**environment):
    """Run the API until the block ends; yields the process and an HTTP client for it."""
    port = any_port()
    variables = {**os.environ, "NPAS_PORT": str(port), **environment}
    with subprocess.Popen(COMMAND, env=variables, stderr=subprocess.PIPE, text=True) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                wait_for(client, process)
                yield process, client
        finally:
            process.kill()


def wait_for(client, process):
    while process.poll() is None:
        try:
            if client.get("/readyz").status_code == 200:  # the planner has imported all
                return
        except httpx.ConnectError:
            pass
        time.sleep(0.05)
    raise AssertionError(process.stderr.read())


def test_main_rings_the_workers_for_a_new_job(asked):
    with running() as (_, client), broker.client() as server:
        assert client.post("/v1/jobs", json=asked).status_code == 202
        assert server.blpop("npas:npas.train", timeout=20) is not None


def test_main_takes_jobs_from_dead_workers(submit, claim):
    job_id = submit()["id"]
    claim()
    with transaction() as session:
        expired = {"lease_until": func.now() - text("interval '1 second'")}
        session.execute(update(Job).values(expired))
    with running(NPAS_LEASE_SECONDS="1") as (_, client):
        events = f"/v1/jobs/{job_id}/events"
        with client.stream("GET", events, headers={"Accept": "text/event-stream"}) as stream:
            assert any("fell silent" in line for line in stream.iter_lines())
        assert client.get(f"/v1/jobs/{job_id}").json()["reason"]["code"] == "worker_lost"


def test_main_ends_its_streams_when_asked_to_end(submit):
    job_id = submit()["id"]
    with running() as (process, client):
        events = f"/v1/jobs/{job_id}/events"
        with client.stream("GET", events, headers={"Accept": "text/event-stream"}) as stream:
            lines = stream.iter_lines()
            assert next(lines) == f": {job_id}"
            process.send_signal(signal.SIGTERM)
            assert "event: end" not in list(lines)
        assert process.wait(timeout=GRACE_SECONDS) == -signal.SIGTERM


def test_main_serves_without_torch(asked):
    with running() as (process, client):
        for kind in ("architectures", "methods", "datasets"):
            assert client.get(f"/v1/{kind}").status_code == 200
        assert client.post("/v1/plans", json={**asked, "budget": 1}).status_code == 422
        assert client.post("/v1/jobs", json=asked).status_code == 202
        loaded = Path(f"/proc/{process.pid}/maps").read_text()
    assert "pydantic_core" in loaded
    assert "torch" not in loaded


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"NPAS_DATABASE_URL": ""}, "NPAS_DATABASE_URL is not set"),
        ({"NPAS_DATABASE_URL": "postgresql://127.0.0.1:1/x"}, "Postgres does not answer"),
        ({"NPAS_HOST": "0.0.0.0"}, "NPAS_HOST: '0.0.0.0': other machines may reach this address"),
    ],
)
def test_main_says_what_is_missing(environment, told):
    done = subprocess.run(
        COMMAND, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert told in done.stderr
