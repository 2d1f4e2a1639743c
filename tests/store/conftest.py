"""A small job to put into the store."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from npas.spec import JobSpec
from npas_store import jobs
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


@pytest.fixture
def submit(store: Path, spec: JobSpec) -> Callable[..., Job]:
    """Create a job; give a key to make it idempotent."""

    assert store.is_dir()

    def create(key: str | None = None) -> Job:
        with transaction() as session:
            return jobs.create(session, spec, SmallPlan(), key)

    return create
