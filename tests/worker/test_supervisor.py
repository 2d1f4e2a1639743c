"""How a claim ends, with the real training process beneath."""

import os
import signal
import threading
from pathlib import Path

import npas
import pytest
from npas.spec import JobSpec
from npas_store import artifacts, blobs, claims, events, garbage, jobs, resume_files
from npas_store.database import reading, transaction
from npas_store.transitions import reason
from npas_worker.supervisor import Supervisor, killed_by


def supervise(job, *, is_draining=False):
    """Keep a claim to its end; return the job as it is then, and how the attempt ended."""
    Supervisor(job, lambda: is_draining).run()
    with reading() as session:
        return jobs.get(session, job.id), jobs.attempts(session, job.id)[-1].outcome


def test_training_ends_with_artifacts_and_a_clean_folder(claimed):
    job, outcome = supervise(claimed)
    assert (job.state, outcome, job.progress) == ("succeeded", "succeeded", 1.0), job.reason
    assert job.accuracy == job.result["accuracy"]
    assert job.parameters <= job.budget_parameters
    with reading() as session:
        names = [row.name for row in artifacts.listing(session, job.id)]
        told = events.after(session, job.id, 0, 1000, types=["phase"])
    assert {"model.safetensors", "plan.json", "report.json", "metrics.csv"} <= set(names)
    assert not resume_files.folder(job.id, 1).exists()
    assert [event.message for event in told][-3:] == ["training", "evaluating", "publishing"]


def test_only_a_training_that_was_lost_casts_doubt_on_the_machine(claimed, in_environment):
    assert Supervisor(claimed, lambda: False).run() is False
    with transaction() as session:
        again = jobs.create(session, JobSpec.model_validate(claimed.spec), npas.plan("resnet-8"))
    with transaction() as session:
        job = claims.claim(session, "w")
    assert job.id == again.id
    with in_environment(NPAS_STALL_SECONDS="0.1"):
        assert Supervisor(job, lambda: False).run() is True


@pytest.mark.parametrize(
    ("end", "casts_doubt"),
    [
        (
            lambda s, job: claims.lose(
                s, job.id, job.claim_number, reason("device_unusable", "gone")
            ),
            True,
        ),
        (lambda s, job: claims.drain(s, job.id, job.claim_number), False),
        (
            lambda s, job: claims.finish(s, job.id, job.claim_number, "failed", message="no data"),
            False,
        ),
    ],
    ids=["lost", "given back", "failed"],
)
def test_end_that_a_training_wrote_counts_though_it_did_not_exit(claimed, end, casts_doubt):
    ended = []

    def end_once():  # asked before each look: the training writes, and does not exit by itself
        if not ended:
            with transaction() as session:
                ended.append(end(session, claimed))
        return False

    assert Supervisor(claimed, end_once).run() is casts_doubt


def test_nothing_that_is_delivered_is_lost_to_who_collects_what_nobody_names(claimed):
    """It collects whatever was put and has no row yet, as fast as it can."""
    ended = threading.Event()

    def collect():
        while not ended.is_set():
            files = garbage.old_files(seconds=0)
            garbage.collect(file.name for file in files if blobs.is_name(file.name))

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        job, _ = supervise(claimed)
    finally:
        ended.set()
        collector.join()
    with reading() as session:
        rows = artifacts.listing(session, job.id)
    states = {
        row.name: blobs.state(blobs.Blob(sha256=row.sha256, bytes=row.bytes)) for row in rows
    }
    assert states
    assert set(states.values()) == {"stored"}, states


def test_cancel_before_the_first_step_still_delivers(claimed):
    with transaction() as session:
        jobs.request_cancel(session, claimed.id)
    job, outcome = supervise(claimed)
    assert (job.state, outcome) == ("cancelled", "cancelled"), job.reason
    assert job.result["epochs_done"] == 0
    left = [path for path in resume_files.folder(job.id, 1).rglob("*") if path.is_file()]
    assert len(left) <= 1  # what a retry goes on from


def test_drain_gives_the_job_back(claimed):
    job, outcome = supervise(claimed, is_draining=True)
    assert (job.state, outcome, job.attempt) == ("queued", "drained", 0)


def test_worker_asked_to_leave_while_files_are_written_lets_the_job_end(claimed):
    phases = set()

    def is_draining():
        with reading() as session:
            phases.add(jobs.get(session, claimed.id).phase)
        return bool(phases & {"evaluating", "publishing"})

    Supervisor(claimed, is_draining).run()
    assert phases & {"evaluating", "publishing"}
    with reading() as session:
        job, (attempt,) = jobs.get(session, claimed.id), jobs.attempts(session, claimed.id)
    assert (job.state, attempt.outcome, job.attempt) == ("succeeded", "succeeded", 1)


def test_lost_claim_leaves_nothing_but_registered_files(claimed, in_environment):
    folder = resume_files.folder(claimed.id, 1)
    (folder / "state").mkdir(parents=True)
    for name in ("model.safetensors", "state/half"):
        (folder / name).write_bytes(b"torn")
    with in_environment(NPAS_STALL_SECONDS="0.1"):
        supervise(claimed)
    assert [path.name for path in folder.glob("*")] == []


def test_training_without_a_step_is_killed_as_stalled(claimed, in_environment):
    with in_environment(NPAS_STALL_SECONDS="0.1"):
        job, outcome = supervise(claimed)
    assert (job.state, job.reason["code"], outcome) == ("queued", "stalled", "stalled")
    assert job.losses == 1


def test_request_that_cannot_be_trained_fails_with_its_field(store, spec):
    missing = spec.model_copy(
        update={"dataset": spec.dataset.model_copy(update={"name": "mnist"})}
    )
    with transaction() as session:
        made = jobs.create(session, missing, npas.plan(spec))
    with transaction() as session:
        job = claims.claim(session, "w")
    assert (job.id, store.is_dir()) == (made.id, True)
    job, outcome = supervise(job)
    assert (job.state, outcome, job.losses) == ("failed", "failed", 0)
    assert job.reason["code"] == "invalid_data"


def test_claim_that_is_over_is_left_alone(claimed):
    with transaction() as session:
        claims.drain(session, claimed.id, 1)
    with transaction() as session:
        claims.claim(session, "other")
    job, _ = supervise(claimed)
    assert (job.state, job.claim_number, job.lease_owner) == ("running", 2, "other")


def test_supervisor_leaves_though_the_database_is_frozen(fragile, in_environment):
    job_id, postgres = fragile
    frozen = []

    def is_draining():
        if not frozen:
            frozen.extend(family(postgres.pid))
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
        return True

    with in_environment(NPAS_ANSWER_SECONDS="1", NPAS_GRACE_SECONDS="1"):
        with reading() as session:
            job = jobs.get(session, job_id)
        try:
            Supervisor(job, is_draining).run()
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
        with reading() as session:
            assert jobs.get(session, job_id).state == "running"  # until its lease runs out


def family(pid):
    """Return a process and its children."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def test_training_that_cannot_be_started_is_a_loss_of_the_machine(claimed):
    folder = resume_files.folder(claimed.id, 1).parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("a file where the folder should be")
    try:
        job, outcome = supervise(claimed)
    finally:
        folder.unlink()
    assert (job.state, outcome, job.losses) == ("queued", "machine_failed", 1)


def test_training_that_ends_without_a_word_is_a_loss_with_its_last_line(claimed, monkeypatch):
    monkeypatch.setenv("NPAS_THREADS", "none")  # read anew by the training, which cannot use it
    job, outcome = supervise(claimed)
    assert (job.state, outcome) == ("queued", "worker_lost")
    assert "exit code 1" in job.reason["message"]
    assert "NPAS_THREADS" in job.reason["message"]


def test_training_is_the_first_that_the_kernel_should_kill(claimed):
    supervisor = Supervisor(claimed, lambda: False)
    resume_files.folder(claimed.id, 1).mkdir(parents=True)
    process = supervisor._start()
    try:
        assert Path(f"/proc/{process.pid}/oom_score_adj").read_text() == "1000\n"
    finally:
        supervisor._kill(process)


def test_kill_for_memory_is_a_cause_of_its_own():
    for_memory = killed_by(signal.SIGKILL, is_for_memory=True)
    assert (for_memory["code"], for_memory["field"]) == ("oom_host", "/training/batch_size")
    assert killed_by(signal.SIGKILL, is_for_memory=False)["code"] == "worker_lost"
    assert killed_by(signal.SIGSEGV, is_for_memory=True)["code"] == "worker_lost"
