"""What a claim does otherwise than asked, and what its time limit makes of it."""

import npas
import npas.run
import pytest
from npas.jobs.listener import NullListener
from npas.train import Command
from npas_store import blobs, claims, events, jobs, resume_files
from npas_store.database import reading, transaction
from npas_store.tables import Attempt, Job
from npas_worker.supervisor import Supervisor
from sqlalchemy import func, text, update

LIMIT = 500.0


@pytest.fixture
def submitted(store, spec):
    """Queue the job of these tests, with changes of its training or its own; return its id."""
    assert store.is_dir()

    def submit(training, **changes):
        changed = spec.model_copy(
            update={"training": spec.training.model_copy(update=training), **changes}
        )
        with transaction() as session:
            return jobs.create(session, changed, npas.plan(changed)).id

    return submit


def supervise(job_id):
    """Claim a job and keep the claim to its end; return the job as it is then."""
    with transaction() as session:
        session.execute(text("UPDATE jobs SET due_at = now()"))
    with transaction() as session:
        job = claims.claim(session, "w")
    assert job.id == job_id
    Supervisor(job, lambda: False).run()
    with reading() as session:
        return jobs.get(session, job_id)


def test_divergence_is_tried_at_a_lower_rate_and_in_smaller_parts_where_that_was_found(submitted):
    job_id = submitted({"learning_rate": 100.0, "schedule": "constant", "epochs": 30})
    with transaction() as session:
        session.execute(update(Job).values(adjustments={"micro_batches": 2}))
    job = supervise(job_id)
    assert (job.state, job.reason["code"]) == ("queued", "nan_loss"), job.reason
    assert job.adjustments == {"micro_batches": 2, "learning_rate_factor": 0.1}
    with transaction() as session:  # lower than it would be, so that it surely trains
        lower = {"micro_batches": 2, "learning_rate_factor": 1e-4}
        session.execute(update(Job).values(adjustments=lower))
    job = supervise(job_id)
    assert job.state == "succeeded", job.reason
    (told,) = job.result["adjustments"]
    assert lower.items() <= told.items()
    with reading() as session:
        assert "adjusted" in [event.type for event in events.after(session, job_id)]


def test_divergence_at_the_lower_rate_fails_with_a_hint(submitted):
    job_id = submitted({"learning_rate": 100.0, "schedule": "constant", "epochs": 30})
    with transaction() as session:
        session.execute(update(Job).values(adjustments={"learning_rate_factor": 1.0}))
    job = supervise(job_id)
    assert (job.state, job.reason["code"]) == ("failed", "nan_loss")
    assert "learning_rate" in job.reason["hint"]
    assert job.reason["field"] == "/training/learning_rate"


class Pausing(NullListener):
    """Pauses a run after its first epoch."""

    def __init__(self):
        self.rows = 0
        self.file = None

    def metrics(self, row):
        self.rows += bool(row)

    def checkpoint(self, path, step):
        self.file = (path, step)

    def command(self):
        return Command.PAUSE if self.rows else Command.CONTINUE


def time_is_over(job_id):
    """Have an earlier claim that took all the time."""
    with transaction() as session:
        long_ago = func.now() - text(f"interval '{LIMIT} s'")
        session.execute(
            update(Attempt).where(Attempt.job_id == job_id).values(started_at=long_ago)
        )


def drained(job_id):
    with transaction() as session:
        job = claims.claim(session, "w")
    with transaction() as session:
        claims.drain(session, job_id, job.claim_number)
    return job


def test_time_limit_delivers_the_best_network_of_all_attempts(submitted, tmp_path):
    job_id = submitted({"epochs": 3}, time_limit=LIMIT)
    job = drained(job_id)
    pausing = Pausing()
    asked = npas.JobSpec.model_validate_json(npas.JobSpec(**job.spec).model_dump_json())
    npas.run.run(asked, folder=tmp_path, device="cpu", listener=pausing)
    path, step = pausing.file
    resume_files.folder(job_id, 1).mkdir(parents=True)
    kept = resume_files.keep(job_id, 1, path, step)
    with transaction() as session:
        resume_files.record(session, job_id, 1, kept, blobs.measure(kept), step)
    time_is_over(job_id)
    job = supervise(job_id)
    assert (job.state, job.reason["code"]) == ("succeeded", "timeout"), job.reason
    assert "after 1 of 3 epochs" in job.reason["message"]
    assert (job.result["truncated"], job.result["epochs_done"]) == (True, 1)


def test_time_limit_without_a_network_fails_with_a_hint(submitted):
    job_id = submitted({"epochs": 3}, time_limit=LIMIT)
    drained(job_id)
    time_is_over(job_id)
    job = supervise(job_id)
    assert (job.state, job.reason["code"]) == ("failed", "timeout")
    assert (job.reason["field"], job.losses) == ("/time_limit", 0)
    assert "raise time_limit" in job.reason["hint"]
