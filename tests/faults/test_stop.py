"""Stopping on purpose, and the ways in which two could believe they hold one job."""

import os
import signal

import npas
import pytest
import torch
from npas_store import artifacts, blobs, broker, jobs, metrics, resume_files
from npas_store.database import reading, transaction

SEARCH_EPOCHS = 8
"""Of the job of these tests, before its training."""


def outcomes(job_id):
    with reading() as session:
        return [row.outcome for row in jobs.attempts(session, job_id)]


def finished_epochs(job_id):
    """Return the stage of each epoch that was finished."""
    with reading() as session:
        return [row["stage"] for row in metrics.rows(session, job_id)]


def usable(job_id):
    with reading() as session:
        return [*resume_files.usable(session, job_id)]


def test_cancel_keeps_the_best_network_so_far(service):
    job_id = service.submit()
    service.until_random_moment(job_id, within=0.5)
    with transaction() as session:
        assert jobs.request_cancel(session, job_id).state == "cancelling"
    job = service.until_end(job_id)
    assert (job.state, job.reason["code"]) == ("cancelled", "user_cancelled")
    assert job.result["stopped_early"]
    assert 0 < job.result["accuracy"] <= 1
    with reading() as session:
        model = artifacts.find(session, job_id, "model.safetensors")
    network = npas.load(blobs.path(model.sha256)).eval()
    assert network(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def while_the_training_dies(service, job_id, cancel):
    training = service.training(job_id)
    os.kill(training, signal.SIGSTOP)  # it must not end by itself before it is killed
    cancel()
    os.kill(training, signal.SIGKILL)


def after_its_worker_was_killed(service, job_id, cancel):
    worker = service.workers.pop()
    os.kill(worker.pid, signal.SIGKILL)
    worker.stop()
    service.until(job_id, lambda job: job.state == "queued")
    cancel()
    service.keep_workers(1)


def after_its_worker_was_stopped(service, job_id, cancel):
    service.keep_workers(0)
    assert service.job(job_id).state == "queued"
    cancel()
    service.keep_workers(1)


@pytest.mark.parametrize(
    "moment",
    [while_the_training_dies, after_its_worker_was_killed, after_its_worker_was_stopped],
)
def test_cancel_after_a_loss_delivers_what_was_saved(service, moment):
    job_id = service.submit()
    service.until_random_moment(job_id, within=0.3)
    service.until(job_id, lambda job: len(usable(job.id)) == resume_files.KEPT)

    def cancel():
        with transaction() as session:
            asked = jobs.request_cancel(session, job_id)
        assert asked.state in ("queued", "cancelling")

    moment(service, job_id, cancel)
    job = service.until_end(job_id)
    assert (job.state, job.reason["code"]) == ("cancelled", "user_cancelled")
    assert job.result is not None, service.story(job_id)
    with reading() as session:
        assert jobs.attempts(session, job_id)[-1].resumed_from_step > 0, service.story(job_id)
    assert job.result["stopped_early"]
    if job.result["best_epoch"] == 0:
        # The resume file was of the first epoch of search or training; what is told of an epoch
        # may be in the store before its file is.
        stages = finished_epochs(job_id)
        assert stages.count("train") <= 1, service.story(job_id)
        assert stages.count("search") in (0, 1, SEARCH_EPOCHS), service.story(job_id)
    assert len(service.model(job_id)) == job.result["file_bytes"]


def test_stopped_worker_saves_the_job_and_gives_it_back(service, undisturbed):
    job_id = service.submit()
    service.until_random_moment(job_id)
    (worker,) = service.workers
    worker.stop()
    job = service.job(job_id)
    assert (job.state, job.attempt, job.losses) == ("queued", 0, 0), service.story(job_id)
    job = service.until_end(job_id)
    assert (job.state, job.attempt, job.claim_number) == ("succeeded", 1, 2), service.story(job_id)
    assert outcomes(job_id) == ["drained", "succeeded"]
    assert service.model(job_id) == undisturbed


def test_sleeping_supervisor_is_replaced_and_fenced(service, undisturbed):
    service.keep_workers(2)
    job_id = service.submit()
    service.until_random_moment(job_id, within=0.1)
    sleeper, first_training = service.supervisor(job_id), service.training(job_id)
    os.kill(sleeper, signal.SIGSTOP)
    try:
        service.until(job_id, lambda job: job.claim_number == 2)
        # Its training finds out by itself and frees what it held.
        service.until(job_id, lambda job: has_ended(first_training) or job.state == "succeeded")
        assert has_ended(first_training), service.story(job_id)
        job = service.until_end(job_id)
    finally:
        os.kill(sleeper, signal.SIGCONT)
    assert (job.state, job.claim_number) == ("succeeded", 2), service.story(job_id)
    assert service.states(job_id).count("succeeded") == 1
    assert outcomes(job_id) == ["worker_lost", "succeeded"]
    assert service.model(job_id) == undisturbed


def has_ended(pid):
    """Tell whether a process is gone, or only waits for its parent to look."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_damaged_resume_file_is_passed_over(service, undisturbed):
    job_id = service.submit()
    service.until_random_moment(job_id, within=0.5)
    service.until(job_id, lambda job: len(usable(job.id)) == resume_files.KEPT)
    service.workers[0].stop()
    newest, older = usable(job_id)
    damaged = bytearray(newest[0].read_bytes())
    damaged[-1] ^= 1
    newest[0].write_bytes(damaged)
    job = service.until_end(job_id)
    assert job.state == "succeeded", service.story(job_id)
    with reading() as session:
        assert jobs.attempts(session, job_id)[-1].resumed_from_step == older[1]
    assert service.model(job_id) == undisturbed


def test_many_bells_for_one_job_make_one_run(service):
    job_id = service.submit(training={"epochs": 2, "batch_size": 32})
    broker.notify(4)
    job = service.until_end(job_id)
    assert (job.state, job.claim_number) == ("succeeded", 1)
    broker.notify(4)
    service.until_silence()
    assert service.job(job_id).claim_number == 1


def test_job_submitted_while_redis_is_away_runs_once(service):
    redis = service.servers.children["redis"]
    redis.stop()
    job_id = service.submit(training={"epochs": 2, "batch_size": 32})
    with pytest.raises(broker.BrokerDownError):
        broker.notify(1)
    job = service.until_end(job_id)
    assert (job.state, job.claim_number) == ("succeeded", 1), service.story(job_id)
