"""`kill -9` of anything, at any moment: the job succeeds, once, with the very same network."""

import os
import random
import shutil
import signal


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


SERVERS = (kill_redis, kill_postgres)
FAULTS = (kill_training, kill_supervisor, kill_worker, *SERVERS)


def test_job_survives_one_fault_after_the_other(service, undisturbed):
    """Each fault that ends the training costs one claim, a server that dies none."""
    faults = random.sample(FAULTS, len(FAULTS))
    job_id = service.submit()
    told = []
    lost = 0
    for fault in faults:
        moment = service.until_random_moment(job_id, within=0.15)
        told.append(f"{fault.__name__} at {moment:.3f}")
        job = service.job(job_id)
        assert (job.claim_number, job.losses) == (lost + 1, lost), (
            f"{told}\n{service.story(job_id)}"
        )
        fault(service, job_id)
        lost += fault not in SERVERS
    job = service.until_end(job_id)
    assert job.state == "succeeded", f"{told}\n{service.story(job_id)}"
    assert (job.claim_number, job.losses) == (lost + 1, lost), service.story(job_id)
    assert service.states(job_id).count("succeeded") == 1, told
    assert service.model(job_id) == undisturbed, told
