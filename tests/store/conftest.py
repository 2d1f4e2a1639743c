"""A small job to put into the store."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from npas.spec import JobSpec
from npas_store import artifacts, blobs, claims, garbage, jobs, resume_files
from npas_store.database import transaction
from npas_store.tables import Job


@dataclass(frozen=True, kw_only=True, slots=True)
class SmallPlan:
    """What the store needs of a plan."""

    method: str = "dense"
    minimum: int = 500
    dense: int = 4000
    ledger: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(budget=1000, total=990)
    )

    def to_json(self) -> str:
        """Return a document whose very bytes count."""
        return '{"b": 1,  "a": 2}'


@pytest.fixture(scope="session")
def spec() -> JobSpec:
    """A valid request."""
    return JobSpec.model_validate(
        {
            "architecture": "resnet-8",
            "budget": 1000,
            "method": {"name": "ssn", "groups": 3},
            "dataset": "digits",
            "labels": {"team": "vision"},
        }
    )


@pytest.fixture(scope="session")
def small_plan() -> SmallPlan:
    """A plan, as far as the store looks."""
    return SmallPlan()


@pytest.fixture
def submit(store: Path, spec: JobSpec) -> Callable[..., Job]:
    """Create a job; give a key to make it idempotent."""

    assert store.is_dir()

    def create(key: str | None = None) -> Job:
        with transaction() as session:
            return jobs.create(session, spec, SmallPlan(), key)

    return create


@pytest.fixture
def settled(store: Path) -> Path:
    """A store whose folder has no files of other tests."""
    for part in ("blobs", "jobs", "uploads", "datasets"):
        shutil.rmtree(store / part, ignore_errors=True)
    return store


@pytest.fixture
def deliver(settled: Path, submit: Callable[..., Job], tmp_path: Path) -> Callable[..., Job]:
    """Make a job, and end it as a worker does, with files that hold what the arguments say."""
    assert settled.is_dir()

    def end(state: str = "succeeded", key: str | None = None, **contents: str) -> Job:
        job = submit(key)
        with transaction() as session:
            claimed = claims.claim(session, "w")
        assert claimed.id == job.id
        folder = resume_files.folder(job.id, 1)
        folder.mkdir(parents=True)
        written = {tmp_path / name: text for name, text in contents.items()}
        for path, text in written.items():
            path.write_text(text)
        stored = {path: blobs.put(path) for path in written}
        state_file = folder / "state"
        state_file.write_text("a resume file")
        kept = resume_files.keep(job.id, 1, state_file, 7)
        with transaction() as session:
            resume_files.record(session, job.id, 1, kept, blobs.measure(kept), 7)
            garbage.secure(session, stored)
            for path, blob in stored.items():
                artifacts.record(session, job.id, path.name, blob)
            claims.finish(session, job.id, 1, state, message="done")
        return job

    return end
