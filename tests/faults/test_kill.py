"""`kill -9` of anything, at any moment: the job succeeds, once, with the very same network."""

import hashlib
import itertools
import os
import random
import shutil
import signal
import sys

import npas
import pytest
import torch
from npas import data
from npas.run import run
from npas.spec import JobSpec
from npas_client.client import Client
from npas_local.processes import Child, Program
from npas_local.testing import any_port
from npas_store import jobs, resume_files
from npas_store.database import reading

SEVERAL = {
    "networks": [
        {"name": "large", "architecture": "wrn-10-1"},
        {"name": "middle", "architecture": "resnet-14"},
        {"name": "small", "architecture": "resnet-8"},
    ],
    "budget": {"fraction": 0.5},
    "method": "superweights",
    "dataset": {"name": "digits", "train_images": 160, "test_images": 100},
    "training": {"epochs": 16, "batch_size": 32, "learning_rate": 0.05},
}


@pytest.fixture
def rest(service, in_environment):
    """A client of the service, which answers over HTTP while the test lasts."""
    with in_environment(NPAS_PORT=str(any_port())):
        log = service.home / "logs" / "api.log"
        api = Child(Program("api", [sys.executable, "-m", "npas_api"], log=log))
        api.start()
        with Client(f"http://127.0.0.1:{os.environ['NPAS_PORT']}") as client:
            while not client.is_ready():
                assert api.is_alive(), log.read_text()
                service.round()
            yield client
        api.stop()


def is_saved(job_id):
    with reading() as session:
        return resume_files.are_there(session, job_id)


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
    """Each fault that ends the training costs one claim, a server that dies none.

    Postgres is last: the training goes on without it, and may be done before it is back.
    """
    others = [fault for fault in FAULTS if fault is not kill_postgres]
    faults = [*random.sample(others, len(others)), kill_postgres]
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


def test_ensemble_of_a_killed_training_is_that_of_an_undisturbed_one(service, rest, tmp_path):
    """Asked for, read and fetched over HTTP; the other is made without any service."""
    asked = {**SEVERAL, "corrupted_images": 2}
    job_id = rest.submit(asked).id
    service.until(job_id, lambda _: is_saved(job_id))
    service.until_random_moment(job_id, within=0.3)
    kill_training(service, job_id)
    ended = service.until_end(job_id)
    assert (ended.state, ended.losses) == ("succeeded", 1), service.story(job_id)
    with reading() as session:
        first, second = jobs.attempts(session, job_id)
    assert first.resumed_from_step is None
    assert second.resumed_from_step > 0

    torch.set_num_threads(1)
    spec = JobSpec.model_validate(asked)
    alone = run(spec, folder=tmp_path / "alone", device="cpu")
    path = rest.download(job_id, "model.safetensors", tmp_path / "bundle.safetensors")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == alone.report["sha256"]

    told = rest.ensemble(job_id)
    scores = {tuple(each.networks): each.accuracy for each in told.subsets}
    names = [each["name"] for each in SEVERAL["networks"]]
    assert {*scores} == {each for n in (1, 2, 3) for each in itertools.combinations(names, n)}
    bundle, digits = npas.load(path), data.load(spec.dataset)
    images = digits.inputs()(digits.x_test)

    def accuracy(classes):
        return float((classes == digits.y_test).double().mean())

    with torch.no_grad():
        together, lone = (net(images) for net in (bundle.ensemble(), bundle.member("small")))
    assert accuracy(together.argmax(1)) == pytest.approx(scores[tuple(names)])
    assert accuracy(lone.argmax(1)) == pytest.approx(scores["small",])
    early = told.anytime.stop or told.anytime.reached[-1]
    assert accuracy(bundle.anytime()(images).classes) == pytest.approx(early.accuracy)
