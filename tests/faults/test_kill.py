"""`kill -9` of anything, at any moment: the job succeeds, once, with the very same network."""

import os
import random
import shutil
import signal

import pytest


def kill(pid):
    os.kill(pid, signal.SIGKILL)


def kill_training(service, job_id):
    kill(service.training(job_id))


def kill_supervisor(service, job_id):
    kill(service.supervisor(job_id))


def kill_worker(service, _job_id):
    kill(service.workers[0].pid)


def kill_redis(service, _job_id):
    """Redis comes back empty: what it held is gone."""
    redis = service.servers.children["redis"]
    kill(redis.pid)
    redis.stop()
    for file in (service.home / "redis").iterdir():
        shutil.rmtree(file) if file.is_dir() else file.unlink()


def kill_postgres(service, _job_id):
    kill(service.servers.children["postgres"].pid)


def check(service, job_id, undisturbed, told):
    job = service.until_end(job_id)
    assert job.state == "succeeded", f"{told}\n{service.story(job_id)}"
    assert service.states(job_id).count("succeeded") == 1, told
    assert service.model(job_id) == undisturbed, told
    return job


@pytest.mark.parametrize("fault", [kill_training, kill_supervisor, kill_worker])
def test_job_goes_on_elsewhere_when_its_worker_dies(service, undisturbed, fault):
    job_id = service.submit()
    moment = service.until_random_moment(job_id)
    fault(service, job_id)
    job = check(service, job_id, undisturbed, f"{fault.__name__} at {moment:.3f}")
    assert (job.claim_number, job.losses) == (2, 1), service.story(job_id)


@pytest.mark.parametrize("fault", [kill_redis, kill_postgres])
def test_job_does_not_notice_when_a_server_dies(service, undisturbed, fault):
    job_id = service.submit()
    moment = service.until_random_moment(job_id)
    fault(service, job_id)
    job = check(service, job_id, undisturbed, f"{fault.__name__} at {moment:.3f}")
    assert (job.claim_number, job.losses) == (1, 0), service.story(job_id)


def test_job_survives_one_fault_after_the_other(service, undisturbed):
    faults = [kill_training, kill_supervisor, kill_worker, kill_redis, kill_postgres]
    random.shuffle(faults)
    job_id = service.submit()
    told = []
    for fault in faults:
        moment = service.until_random_moment(job_id, within=0.06)
        told.append(f"{fault.__name__} at {moment:.3f}")
        fault(service, job_id)
    job = check(service, job_id, undisturbed, told)
    assert job.losses == 3, service.story(job_id)
