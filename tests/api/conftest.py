"""The application behind a real HTTP server, over real Postgres and Redis."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import npas
import pytest
import uvicorn
from fastapi import FastAPI
from npas.plans import Plan
from npas_api.app import create_app
from npas_local.checking import Checker
from npas_store import artifacts, blobs, claims, lineage, plans
from npas_store.database import reading, transaction
from npas_store.tables import Job

from benchmarks.hostile_service import SETTINGS

STOP_SECONDS = 60
"""So long an application may take to stop, on a machine that does much else."""


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serve an application from a thread for the length of the block; yields its address."""
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=5)
    )
    thread = threading.Thread(target=server.run, name="server", daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        app.state.hub.close()
        server.should_exit = True
        loop = server.servers[0].get_loop()
        thread.join(STOP_SECONDS)
        assert not thread.is_alive(), [str(task) for task in asyncio.all_tasks(loop)]


@pytest.fixture(scope="session")
def app() -> FastAPI:
    """The application, without its chores: nothing changes behind a test."""
    return create_app(chores=())


@pytest.fixture(scope="session")
def url(services: Path, app: FastAPI) -> Iterator[str]:
    """The address of the application."""
    assert services.is_dir()
    with serving(app) as address:
        yield address


@pytest.fixture(scope="session")
def client(url: str) -> Iterator[httpx.Client]:
    """An HTTP client of the application."""
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture
def submit(
    store: Path, client: httpx.Client, asked: dict[str, Any]
) -> Callable[..., dict[str, Any]]:
    """Make a job in a store that has no others; keyword arguments replace parts of the request."""
    assert store.is_dir()

    def send(**changes: Any) -> dict[str, Any]:
        answer = client.post("/v1/jobs", json={**asked, **changes})
        assert answer.status_code == 202, answer.text
        return answer.json()

    return send


@pytest.fixture
def claim() -> Callable[[], Job]:
    """Take the job that has waited longest, as a worker does."""

    def take() -> Job:
        with transaction() as session:
            job = claims.claim(session, "a test")
            assert job is not None
            return job

    return take


@pytest.fixture
def deliver(claim: Callable[[], Job]) -> Callable[..., str]:
    """Run the job that has waited longest, with this report, and return its id."""

    def finish(state: str = "succeeded", **report: Any) -> str:
        job = claim()
        with transaction() as session:
            claims.finish(session, job.id, job.claim_number, state, message="done", result=report)
        return job.id

    return finish


@pytest.fixture
def deliver_network(claim: Callable[[], Job], tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """Run the next job to its end, with a network that was never trained."""

    def finish(state: str = "succeeded") -> tuple[str, str]:
        job = claim()
        with reading() as session:
            plan = Plan.from_json(plans.versions(session, job.id)[-1].document)
        path = tmp_path / "model.safetensors"
        built = {each.name: npas.build(each.architecture) for each in plan.networks}
        npas.save(npas.share(built, plan), path)
        blob = blobs.put(path)
        with transaction() as session:
            artifacts.record(session, job.id, lineage.MODEL, blob)
            report = {"accuracy": 0.5, "parameters": plan.ledger.total}
            claims.finish(session, job.id, job.claim_number, state, message="done", result=report)
        return job.id, blob.sha256

    return finish


@pytest.fixture
def checked(store: Path, in_environment: Callable[..., Any]) -> Iterator[None]:
    """Have uploads checked beside a test, as a loop of the API does."""
    assert store.is_dir()
    checker, over = Checker(), threading.Event()

    def check() -> None:
        while not over.wait(0.05):
            checker.check_all()

    with in_environment(**SETTINGS):
        thread = threading.Thread(target=check)
        thread.start()
        yield
        checker.stop()
        over.set()
        thread.join()


@pytest.fixture
def asked() -> dict[str, Any]:
    """A valid request for a job."""
    return {
        "architecture": {"name": "resnet-8"},
        "budget": {"fraction": 0.75},
        "method": {"name": "superweights"},
        "dataset": {"name": "digits"},
        "training": {"epochs": 2},
        "labels": {"team": "vision"},
    }
