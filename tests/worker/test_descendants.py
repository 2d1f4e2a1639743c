"""Jobs that are made of others, trained: a continuation and a retry go on with what there is."""

import subprocess
import sys

import npas
import pytest
from npas.jobs.listener import NullListener
from npas.run import run
from npas.spec import JobSpec
from npas.train import Command
from npas_store import artifacts, blobs, claims, jobs, lineage, resume_files, transitions
from npas_store.database import reading, transaction
from npas_store.jobs import Origin
from npas_worker.protocol import ENDED


class Interrupting(NullListener):
    """Pauses after some steps, and remembers the resume file."""

    left = 1
    saved = None

    def command(self):
        self.left -= 1
        return Command.PAUSE if self.left < 0 else Command.CONTINUE

    def checkpoint(self, path, step):
        self.saved = (path, step)


def trained(spec, plan, origin):
    """Make a job of another, train it as a worker does, and return it."""
    with transaction() as session:
        made = lineage.descend(session, spec, plan, None, origin).id
    with transaction() as session:
        job = claims.claim(session, "w")
        assert job.id == made
    resume_files.folder(made, 1).mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "npas_worker.train_process", made, "1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == ENDED, done.stderr
    with reading() as session:
        job = jobs.get(session, made)
        (attempt,) = jobs.attempts(session, made)
    assert job.state == "succeeded", job.reason
    return job, attempt


def end(job, state, **values):
    with transaction() as session:
        claims.finish(session, job.id, job.claim_number, state, message="over", **values)


def test_continuation_begins_with_the_network_that_its_parent_delivered(claimed, spec, tmp_path):
    first = run(spec, folder=tmp_path, device="cpu")
    blob = blobs.put(first.files[lineage.MODEL])
    with transaction() as session:
        artifacts.record(session, claimed.id, lineage.MODEL, blob)
    end(claimed, "succeeded", result=first.report)
    asked = spec.model_dump() | {"start": {"checkpoint": blob.sha256}}
    onward = JobSpec.model_validate(asked)
    origin = Origin(parent_id=claimed.id, relation="continue", request={"epochs": 1})
    job, _ = trained(onward, first.plan, origin)
    assert job.result["start"] == {
        "checkpoint": blob.sha256,
        "is_continued": True,
        "accuracy": pytest.approx(first.report["accuracy"]),
    }
    assert job.result["epochs_done"] == 1


def test_retry_goes_on_after_the_steps_of_its_parent(claimed, spec, tmp_path):
    ear, plan = Interrupting(), npas.plan(spec)
    run(spec, folder=tmp_path, device="cpu", listener=ear, plan=plan)
    path, step = ear.saved
    resume_files.folder(claimed.id, claimed.claim_number).mkdir(parents=True, exist_ok=True)
    kept = resume_files.keep(claimed.id, claimed.claim_number, path, step)
    with transaction() as session:
        number = claimed.claim_number
        resume_files.record(session, claimed.id, number, kept, blobs.measure(kept), step)
    end(claimed, "failed", why=transitions.reason("worker_lost", "gone"))
    origin = Origin(parent_id=claimed.id, relation="retry", request={})
    job, attempt = trained(spec, plan, origin)
    assert attempt.resumed_from_step == step > 0
    assert job.result["epochs_done"] == spec.training.epochs
