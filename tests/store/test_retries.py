"""What follows a loss: caps by cause, anew after progress; adjustments; a full disk."""

import shutil

import pytest
from npas_store import blobs, claims, events, jobs, resume_files, retries, room, transitions
from npas_store.database import reading, transaction
from npas_store.settings import settings
from npas_store.tables import Attempt
from sqlalchemy import text, update


@pytest.fixture
def job(submit):
    """A job that waits."""
    return submit()


def lose(job, code, *, reached=None, **options):
    """Claim a job, get as far as given, and lose it; return the job, and its pause in seconds."""
    with transaction() as session:
        session.execute(text("UPDATE jobs SET due_at = now() WHERE id = :id"), {"id": job.id})
    with transaction() as session:
        claimed = claims.claim(session, "w")
        assert claimed is not None
        assert claimed.id == job.id
    if reached is not None:
        save(claimed, reached)
    why = transitions.reason(code, "gone")
    with transaction() as session:
        lost = claims.lose(session, job.id, claimed.claim_number, why, **options)
    with reading() as session:
        query = text("SELECT extract(epoch FROM due_at - now()) FROM jobs WHERE id = :id")
        return lost, float(session.scalar(query, {"id": job.id}))


def save(claimed, step):
    """Register a resume file of a claim, as its worker does."""
    draft = resume_files.folder(claimed.id, claimed.claim_number) / "state"
    draft.parent.mkdir(parents=True, exist_ok=True)
    draft.write_bytes(b"weights")
    kept = resume_files.keep(claimed.id, claimed.claim_number, draft, step)
    with transaction() as session:
        resume_files.record(
            session, claimed.id, claimed.claim_number, kept, blobs.measure(kept), step
        )


def told(job, type="adjusted"):
    with reading() as session:
        return [e for e in events.after(session, job.id, limit=1000) if e.type == type]


def test_record_says_how_far_the_claim_got(job):
    lose(job, "worker_lost", reached=7)
    with reading() as session:
        assert [a.reached_step for a in jobs.attempts(session, job.id)] == [7]


@pytest.mark.parametrize(("code", "most"), [("worker_lost", 10), ("internal_error", 3)])
def test_losses_count_anew_after_progress(job, code, most):
    assert settings().max_attempts == 10
    for step in (5, 9):
        assert lose(job, code, reached=step)[0].state == "queued"
        for _ in range(most - 2):
            assert lose(job, code)[0].state == "queued"
    assert lose(job, code, reached=9)[0].state == "failed"  # no further than before
    with reading() as session:
        found = jobs.get(session, job.id)
    assert found.losses == 2 * (most - 1) + 1  # all that ever were
    assert f"{most} losses" in found.reason["message"]


def test_pause_counts_anew_after_progress(job):
    pauses = [round(lose(job, "worker_lost", reached=step)[1]) for step in (None, None, 4, None)]
    assert pauses == [5, 10, 5, 10]


def test_pause_is_over_as_far_as_somebody_waited_already(job):
    pauses = [round(lose(job, "worker_lost", waited_seconds=12)[1]) for _ in range(3)]
    assert pauses == [0, 0, 8]


@pytest.mark.parametrize("code", ["oom_gpu", "oom_host"])
def test_memory_that_ran_out_makes_batches_of_smaller_parts(job, code):
    parts = []
    while (lost := lose(job, code)[0]).state == "queued":
        parts.append(lost.adjustments["micro_batches"])
    assert parts == [2, 4, 8, 16, 32, 64]  # of 128 images
    assert (lost.state, lost.reason["code"]) == ("failed", code)
    assert "smaller network" in lost.reason["hint"]
    assert [event.data["micro_batches"] for event in told(job)] == parts
    assert "batches of 128 images are now computed in 2 parts" in told(job)[0].message


def test_memory_that_ran_out_gets_three_tries_where_parts_cannot_be_smaller(job):
    with transaction() as session:
        statement = text("UPDATE jobs SET adjustments = '{\"micro_batches\": 64}' WHERE id = :id")
        session.execute(statement, {"id": job.id})
    states = [lose(job, "oom_gpu")[0].state for _ in range(3)]
    assert states == ["queued", "queued", "failed"]


def test_parts_are_of_what_a_small_dataset_has(job):
    with transaction() as session:
        statement = text(
            "UPDATE jobs SET spec = jsonb_set(spec, '{dataset,train_images}', '10') WHERE id = :id"
        )
        session.execute(statement, {"id": job.id})
    parts = [lose(job, "oom_gpu")[0].adjustments["micro_batches"] for _ in range(2)]
    assert parts == [2, 4]
    assert lose(job, "oom_gpu")[0].state == "failed"


def test_losses_under_a_former_name_count_with_those_of_today(job):
    for _ in range(2):
        lose(job, "device_unusable")
    with transaction() as session:
        session.execute(update(Attempt).values(outcome="device_failed"))
    for _ in range(7):
        assert lose(job, "device_unusable")[0].state == "queued"
    assert lose(job, "device_unusable")[0].state == "failed"


def test_divergence_is_tried_once_more_at_a_lower_rate(job):
    lost, _ = lose(job, "nan_loss")
    assert (lost.state, lost.adjustments) == (
        "queued",
        {"learning_rate_factor": retries.LOWER_RATE},
    )
    assert [event.data for event in told(job)] == [lost.adjustments]
    lost, _ = lose(job, "nan_loss")
    assert (lost.state, lost.reason["code"]) == ("failed", "nan_loss")
    assert "learning_rate" in lost.reason["hint"]
    assert lost.losses == 2


def steps_to_go_on_from(job):
    with reading() as session:
        return [step for _, step in resume_files.usable(session, job.id)]


def test_divergence_goes_back_behind_the_newest_file(job):
    """It may be of a training that was about to diverge."""
    lose(job, "worker_lost", reached=4)
    lose(job, "worker_lost", reached=8)
    assert steps_to_go_on_from(job) == [8, 4]
    lose(job, "nan_loss")
    assert steps_to_go_on_from(job) == [4]
    files = [
        path for path in (settings().jobs / job.id).rglob("*") if path.parent.name == "resume"
    ]
    assert len(files) == 1


def test_divergence_keeps_the_only_file(job):
    lose(job, "nan_loss", reached=4)
    assert steps_to_go_on_from(job) == [4]


def test_what_the_request_asks_for_ends_the_job_at_once(job):
    lost, _ = lose(job, "invalid_data")
    assert (lost.state, lost.losses, lost.reason["retryable"]) == ("failed", 0, False)
    assert lost.reason["hint"]
    with reading() as session:
        assert [a.outcome for a in jobs.attempts(session, job.id)] == ["failed"]


def test_full_disk_costs_nothing_and_says_how_much_is_needed(job):
    for _ in range(12):  # more often than anything else is tried
        lost, _ = lose(job, "disk_full")
    assert (lost.state, lost.attempt, lost.losses) == ("queued", 0, 0)
    needs = room.LEAST_FREE_BYTES + 44 * job.parameters
    assert lost.reason["bytes_needed"] == needs
    assert f"{needs:,} bytes must be free" in lost.reason["message"]
    assert lose(job, "worker_lost")[0].attempt == 1


def test_job_is_claimed_only_where_there_is_room(job):
    needs = room.LEAST_FREE_BYTES + 44 * job.parameters
    with transaction() as session:
        assert claims.claim(session, "w", free_bytes=needs - 1) is None
        assert not claims.is_any_due(session, free_bytes=needs - 1)
        assert claims.is_any_due(session, free_bytes=needs)
        claimed = claims.claim(session, "w", free_bytes=needs)
        assert claimed is not None
        assert claimed.id == job.id


def test_job_that_needs_less_goes_first_where_there_is_little_room(submit):
    large, small = submit(), submit()
    with transaction() as session:
        statement = text(
            "UPDATE jobs SET estimate = '{\"disk_bytes\": 1000000000}' WHERE id = :id"
        )
        session.execute(statement, {"id": large.id})
    with transaction() as session:
        assert room.needed_bytes(session, large.id) == room.LEAST_FREE_BYTES + 10**9
        claimed = claims.claim(session, "w", free_bytes=10**9)
        assert claimed is not None
        assert claimed.id == small.id


def test_files_that_a_job_holds_are_not_needed_again(job):
    lose(job, "worker_lost", reached=3)
    whole = room.LEAST_FREE_BYTES + 44 * job.parameters
    with transaction() as session:
        assert room.needed_bytes(session, job.id) == whole - len(b"weights")
        jobs.request_cancel(session, job.id)
        session.flush()
        delivery = room.LEAST_FREE_BYTES + 8 * job.parameters
        assert room.needed_bytes(session, job.id) == delivery


def test_free_bytes_are_those_of_the_fuller_disk(store, tmp_path, in_environment):
    disk = shutil.disk_usage(store)
    assert abs(room.free_bytes() - disk.free) < disk.total / 10  # others write, too
    with in_environment(NPAS_HOME=str(tmp_path / "gone")), pytest.raises(FileNotFoundError):
        room.free_bytes()
