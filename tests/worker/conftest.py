"""A real job, claimed."""

import npas
import pytest
from npas.spec import JobSpec
from npas_local import embedded
from npas_store import claims, jobs, migrate
from npas_store.database import transaction
from npas_store.tables import Job


@pytest.fixture(scope="session")
def spec() -> JobSpec:
    """A job that takes a second once it has started."""
    return JobSpec.model_validate(
        {
            "architecture": "resnet-8",
            "method": "dense",
            "budget": {"fraction": 1.0},
            "dataset": {"name": "digits", "train_images": 100, "test_images": 20},
            "training": {"epochs": 1, "batch_size": 32},
        }
    )


@pytest.fixture
def claimed(store, spec) -> Job:
    """A job in the hands of a worker."""
    assert store.is_dir()
    with transaction() as session:
        jobs.create(session, spec, npas.plan(spec))
    with transaction() as session:
        job = claims.claim(session, "w")
    assert job is not None
    return job


@pytest.fixture
def fragile(tmp_path, in_environment, spec):
    """A claimed job in a Postgres that may be stopped: its id and the server."""
    with (
        embedded.running(tmp_path, redis=False) as servers,
        in_environment(NPAS_DATABASE_URL=servers.database_url),
    ):
        migrate.upgrade()
        with transaction() as session:
            jobs.create(session, spec, npas.plan(spec))
        with transaction() as session:
            job = claims.claim(session, "w")
        yield job.id, servers.children["postgres"]
