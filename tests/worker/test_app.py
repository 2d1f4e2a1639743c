"""Which worker takes jobs: only one on the folder that holds what they need and deliver."""

import os
import subprocess
import sys

import npas
import pytest
from npas_store import homes, jobs, workers
from npas_store.database import reading, transaction
from npas_worker.app import Slot
from sqlalchemy import text


@pytest.fixture
def waiting(store, spec):
    """A job that waits for a worker, in a store that has its folder."""
    assert store.is_dir()
    homes.settle()
    with transaction() as session:
        return jobs.create(session, spec, npas.plan(spec)).id


@pytest.mark.usefixtures("waiting")
def test_worker_on_another_folder_does_not_start(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "npas_worker"],
        env={**os.environ, "NPAS_HOME": str(tmp_path / "other")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("npas: NPAS_HOME: the files of this database")


def test_worker_whose_folder_has_gone_takes_no_job(waiting):
    aside = homes.marker().rename(homes.marker().with_name("aside"))
    try:
        Slot().take_jobs()
        with reading() as session:
            assert jobs.get(session, waiting).state == "queued"
            assert not workers.present(session)
    finally:
        aside.rename(homes.marker())


def test_worker_takes_no_job_on_a_newer_schema(waiting):
    def rename(after):
        statement = text("UPDATE alembic_version SET version_num = :after")
        with transaction() as session:
            session.execute(statement, {"after": after})

    with reading() as session:
        known = session.scalar(text("SELECT version_num FROM alembic_version"))
    rename("ffffffffffff")
    try:
        Slot().take_jobs()
        with reading() as session:
            assert jobs.get(session, waiting).state == "queued"
    finally:
        rename(known)
