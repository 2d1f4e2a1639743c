"""A worker that is asked to leave costs no attempt, at any moment, and is not half there after."""

import os
import signal

from npas_local.testing import parent
from npas_store import jobs, listings
from npas_store.database import reading

SHORT = {"epochs": 40, "batch_size": 32, "learning_rate": 0.05}


def claims_of(job_id):
    with reading() as session:
        return jobs.attempts(session, job_id)


def ask_while_it_starts(service, job_id):
    """Before the training has loaded what it needs."""
    service.until(job_id, lambda job: job.claim_number in service.trainings(job.id))
    os.kill(service.workers[0].pid, signal.SIGTERM)


def ask_twice(service, job_id):
    service.until(job_id, service.is_training)
    for _ in range(2):
        os.kill(service.workers[0].pid, signal.SIGTERM)


def ask_the_pool_alone(service, job_id):
    service.until(job_id, service.is_training)
    os.kill(service.supervisor(job_id), signal.SIGTERM)


def ask_all_at_once(service, job_id):
    """As who stops a container or a unit may: everything in it, the training too."""
    service.until(job_id, service.is_training)
    training = service.training(job_id)
    for pid in (training, parent(training), service.workers[0].pid):
        os.kill(pid, signal.SIGTERM)


MOMENTS = (ask_while_it_starts, ask_twice, ask_the_pool_alone, ask_all_at_once)


def test_worker_that_is_asked_to_leave_costs_no_attempt(service):
    job_id = service.submit(training=SHORT)
    for number, ask in enumerate(MOMENTS, start=1):
        worker = service.workers[0].pid
        ask(service, job_id)
        service.until(job_id, lambda job, n=number: claims_of(job.id)[n - 1].ended_at is not None)
        # The whole worker leaves: it is started again, as another process.
        service.until(job_id, lambda _, pid=worker: service.workers[0].pid != pid)
    job = service.until_end(job_id)
    assert job.state == "succeeded", service.story(job_id)
    outcomes = [claim.outcome for claim in claims_of(job_id)]
    assert outcomes == ["drained"] * len(MOMENTS) + ["succeeded"], service.story(job_id)
    assert (job.attempt, job.losses) == (1, 0)


def test_killed_supervisor_is_replaced_before_its_lease_runs_out(service, in_environment):
    service.keep_workers(0)
    with in_environment(NPAS_LEASE_SECONDS="3600"):
        service.keep_workers(1)
        job_id = service.submit(training=SHORT)
        service.until(job_id, service.is_training)
        os.kill(service.supervisor(job_id), signal.SIGKILL)
        job = service.until(job_id, lambda job: job.claim_number == 2)
        service.keep_workers(0)
    assert (job.attempt, job.losses) == (2, 1)
    with reading() as session:
        told = [row.reason for row in listings.histories(session, [job_id])[job_id] if row.reason]
    assert "the supervisor at" in told[0]["message"], service.story(job_id)
