"""A database of the release before, with jobs that wait and run: they go on under this one."""

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import npas
import pytest
from alembic.script import ScriptDirectory
from npas.spec import JobSpec
from npas_store import artifacts, blobs, claims, homes, jobs, listings, migrate, resume_files
from npas_store.database import engine, reading, transaction
from npas_store.reaper import reap_once
from npas_store.settings import settings
from npas_worker.supervisor import Supervisor
from sqlalchemy import inspect, text

SEED = Path(__file__).parent / "before_life"
BEFORE = "b7e29d0c5f14"
RUNNING = "job_01a227e3fc017858a5bb8898ff57c82a"
CANCELLING = "job_01a227e569977110b6336ab66ccdb25b"
LOST = "job_01a227e6382e7792a71371d25efeb202"
QUEUED = "job_01a227e70a317e1cbf91d8259119ba0d"
SUCCEEDED = "job_01a227dfc573785baf5f48680fca48a1"

ASKED = {
    "architecture": {
        "name": "declared",
        "layers": [
            *[{"kind": "conv", "channels": 4}, {"kind": "norm"}, {"kind": "activation"}] * 2,
            {"kind": "pool", "function": "global"},
            {"kind": "linear"},
        ],
    },
    "budget": {"fraction": 1.0},
    "method": "dense",
    "dataset": {"name": "digits", "train_images": 64, "test_images": 20},
    "training": {"epochs": 300, "batch_size": 32},
    "labels": {"team": "vision"},
}
"""The request of the job that runs, as it was sent."""


@pytest.fixture
def seeded(services: Path, tmp_path: Path, in_environment) -> Iterator[Path]:
    """A database of its own with the rows of the release before, and its folder."""
    assert services.is_dir()
    name, url = f"before_{secrets.token_hex(4)}", settings().database_url
    _administer(f"CREATE DATABASE {name}")
    shutil.copytree(SEED / "jobs", tmp_path / "jobs")
    place = {
        "NPAS_DATABASE_URL": url.replace("/postgres?", f"/{name}?"),
        "NPAS_HOME": str(tmp_path),
        "NPAS_THREADS": "1",
        "NPAS_DEVICE": "cpu",
    }
    with in_environment(**place):
        migrate.upgrade(BEFORE)
        with engine().connect() as connection:
            driver = connection.connection.driver_connection
            driver.execute((SEED / "rows.sql").read_text())
            driver.commit()
        yield tmp_path
    _administer(f"DROP DATABASE {name} WITH (FORCE)")


def _administer(statement):
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))  # a checkpoint goes before
        connection.execute(text(statement))


def set_leases(seconds):
    with engine().begin() as connection:
        until = "UPDATE jobs SET lease_until = now() + :s * interval '1 s' WHERE lease_owner <> ''"
        connection.execute(text(until), {"s": seconds})


def train_next():
    """Do what a worker does: take a job, train it to its end; return it and its last attempt."""
    with transaction() as session:
        job = claims.claim(session, "worker-9")
    Supervisor(job, lambda: False).run()
    with reading() as session:
        return jobs.get(session, job.id), jobs.attempts(session, job.id)[-1]


@pytest.mark.usefixtures("seeded")
def test_jobs_that_ran_while_the_schema_changed_finish(in_environment):
    set_leases(60)
    migrate.upgrade()
    homes.settle()
    with transaction() as session:  # nothing is taken from who holds it
        assert claims.beat(session, RUNNING, 1) is False
        assert claims.beat(session, CANCELLING, 1) is True
    set_leases(-60)
    with in_environment(NPAS_LEASE_SECONDS="0.001"):  # the server has been up for longer
        assert reap_once() == 2
    make_due()
    ended = {}
    for _ in range(2):
        with transaction() as session:  # those that the files here are of come first
            hide = text("UPDATE jobs SET due_at = now() + interval '1 h' WHERE id IN (:a, :b)")
            session.execute(hide, {"a": QUEUED, "b": LOST})
        job, attempt = train_next()
        ended[job.id] = (job.state, job.claim_number, attempt.resumed_from_step)
    assert ended == {RUNNING: ("succeeded", 2, 16), CANCELLING: ("cancelled", 2, 20)}
    for job_id in ended:
        with reading() as session:
            model = artifacts.find(session, job_id, "model.safetensors")
            states = [row.to_state for row in listings.histories(session, [job_id])[job_id]]
        npas.load(blobs.path(model.sha256))
        assert states.count(ended[job_id][0]) == 1


def make_due():
    with transaction() as session:
        session.execute(text("UPDATE jobs SET due_at = now()"))


@pytest.mark.usefixtures("seeded")
def test_jobs_that_waited_are_claimed_and_go_on_from_their_files():
    migrate.upgrade()
    with transaction() as session:
        found = [claims.claim(session, "worker-9") for _ in range(3)]
    assert {job.id: job.claim_number for job in found if job} == {QUEUED: 1, LOST: 2}
    with reading() as session:
        assert [step for _, step in resume_files.usable(session, LOST)] == [12]
        ended = jobs.get(session, SUCCEEDED)
        assert (ended.state, ended.priority, ended.revision) == ("succeeded", 0, 0)
        assert len(artifacts.listing(session, SUCCEEDED)) == 7


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("round_trip", [False, True])
def test_keys_of_before_replay(round_trip):
    migrate.upgrade()
    if round_trip:
        migrate.downgrade(BEFORE)
        migrate.upgrade()
    spec = JobSpec.model_validate(ASKED)
    plan = npas.plan(spec)
    with transaction() as session:
        known = jobs.create(session, spec, plan, "key of the one that runs")
        assert (known.id, jobs.is_asked_by(known, spec)) == (RUNNING, True)
        other = JobSpec.model_validate({**ASKED, "seed": 5})
        assert not jobs.is_asked_by(known, other)
        waits = jobs.create(session, spec, plan, "key of the one that waits")
        assert (waits.id, jobs.is_asked_by(waits, spec)) == (QUEUED, False)


def content():
    """Return what must survive any change of the schema: of every job, and rows of each table."""
    with engine().connect() as connection:
        columns = "id, state, spec, reason, result, created_at, finished_at, progress, attempt"
        rows = connection.execute(text(f"SELECT {columns} FROM jobs ORDER BY id")).all()
        tables = set(inspect(connection).get_table_names()) - {"alembic_version"}
        counts = {name: connection.scalar(text(f"SELECT count(*) FROM {name}")) for name in tables}
    return [tuple(row) for row in rows], {name: count for name, count in counts.items() if count}


@pytest.mark.usefixtures("seeded")
def test_each_migration_goes_down_and_up_with_rows_in_it():
    migrate.upgrade()
    before = content()
    assert len(before[0]) == 7
    for revision in revisions()[1:]:
        migrate.downgrade(revision)
        kept, _ = content()
        assert kept == before[0], revision
        migrate.upgrade()
        assert content() == before, revision
    migrate.downgrade("base")
    migrate.upgrade()
    assert content() == ([], {})


def revisions():
    """Return all revisions, the newest first."""
    with engine().connect() as connection:
        scripts = ScriptDirectory.from_config(migrate.config(connection))
        return [script.revision for script in scripts.walk_revisions()]
