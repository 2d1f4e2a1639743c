"""A worker on which no training can run takes no job; the jobs wait for one on which it can."""

import os
import sys

import pytest
from npas_local.processes import Child, Program
from npas_store import jobs, workers
from npas_store.database import reading

SMALL = {"epochs": 1, "batch_size": 32}


@pytest.fixture
def sick(service, tmp_path):
    """The only worker, on a machine without the GPU it is to use; says what it says."""
    service.keep_workers(0)
    environment = {**os.environ, "NPAS_DEVICE": "cuda:99"}
    command = [sys.executable, "-m", "npas_worker"]
    worker = Child(Program("sick", command, log=tmp_path / "sick.log", environment=environment))
    worker.start()
    yield lambda: told_by(service, worker)
    worker.stop()


def told_by(service, worker):
    """Return what a worker says once it has found out how it is, and its name."""
    while True:
        with reading() as session:
            for row in workers.present(session):
                if row.name.endswith(f":{worker.pid}") and "not proven" not in row.trouble:
                    return row.name, row.trouble
        service.round()


def test_sick_worker_burns_no_job_and_says_why(service, sick):
    waiting = [service.submit(training=SMALL) for _ in range(2)]
    name, trouble = sick()
    assert "device 'cuda:99' does not work" in trouble
    for _ in range(20):
        service.round()
    for job in map(service.job, waiting):
        assert (job.state, job.claim_number, job.losses) == ("queued", 0, 0), service.story(job.id)
    service.keep_workers(1)
    for job in map(service.until_end, waiting):
        assert (job.state, job.claim_number, job.losses) == ("succeeded", 1, 0), service.story(
            job.id
        )
        with reading() as session:
            assert jobs.attempts(session, job.id)[0].worker != name
