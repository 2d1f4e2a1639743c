"""What is due goes by itself; what somebody may want stays."""

import os
import shutil
import time

import pytest
from npas_api.background import tidying
from npas_store import artifacts, blobs, claims, events, idempotency, jobs, logs, resume_files
from npas_store.database import reading, transaction
from npas_store.removal import Freed
from npas_store.retention import tidy_once
from npas_store.tables import IdempotencyKey, Job, OutboxMessage, Sweep
from sqlalchemy import func, select, text, update


@pytest.fixture
def old(deliver):
    """Make a job that ended so many days ago."""

    def make(days, **options):
        job = deliver(**options)
        with transaction() as session:
            session.execute(
                text(
                    "UPDATE jobs SET finished_at = now() - :days * interval '1 day' WHERE id = :id"
                ),
                {"days": days, "id": job.id},
            )
        return job

    return make


def left():
    with reading() as session:
        return set(session.scalars(select(Job.id)))


def test_all_jobs_are_kept_unless_a_setting_says_otherwise(old):
    job = old(3000, model="1")
    tidy_once()
    with reading() as session:
        assert jobs.get(session, job.id).state == "succeeded"
        assert blobs.path(artifacts.find(session, job.id, "model").sha256).exists()


def test_jobs_go_by_the_age_of_their_end(old, submit, in_environment):
    gone, kept = old(8, model="old"), old(6, model="new")
    waiting = submit()
    with transaction() as session:
        session.execute(text("UPDATE jobs SET created_at = now() - interval '1 year'"))
    with in_environment(NPAS_KEEP_JOBS_DAYS="7"):
        freed = tidy_once()
    assert left() == {kept.id, waiting.id}
    assert (freed.files, freed.bytes) == (3, len("old") + len("a resume file")), gone


def test_of_jobs_that_ended_the_last_ones_are_kept(old, submit, in_environment):
    made = [old(days).id for days in (4, 1, 3, 2)]
    waiting = submit()
    with in_environment(NPAS_KEEP_JOBS="2"):
        tidy_once()
        assert left() == {made[1], made[3], waiting.id}
    with in_environment(NPAS_KEEP_JOBS="0"):
        tidy_once()
    assert left() == {waiting.id}


def test_jobs_of_a_sweep_go_once_all_have_ended(old, submit, in_environment):
    one, two = old(9), submit()
    with transaction() as session:
        session.add(Sweep(id="sweep_1", spec={}))
        session.flush()
        session.execute(update(Job).values(sweep_id="sweep_1"))
        idempotency.reserve(session, "of the sweep", "f", "sweep_1")
    with in_environment(NPAS_KEEP_JOBS_DAYS="7"):
        tidy_once()
        assert left() == {one.id, two.id}
        with transaction() as session:
            jobs.request_cancel(session, two.id)
            session.execute(text("UPDATE jobs SET finished_at = now() - interval '8 days'"))
        tidy_once()
    assert left() == set()
    with reading() as session:
        assert session.get(Sweep, "sweep_1") is None
        assert idempotency.known(session, "of the sweep") is None


def test_events_go_and_the_history_stays(old, in_environment):
    gone, kept = old(91), old(89)
    tidy_once()
    with reading() as session:
        assert events.after(session, gone.id) == []
        assert len(events.after(session, kept.id)) == 3
        history = text("SELECT count(*) FROM transitions WHERE job_id = :id")
        assert session.scalar(history, {"id": gone.id}) == 3
    with in_environment(NPAS_KEEP_EVENTS_DAYS="0"):
        tidy_once()
    with reading() as session:
        assert events.after(session, kept.id) == []


def test_resume_file_of_a_job_that_failed_is_kept_for_a_while(old):
    lately, long_ago = old(6, state="failed"), old(8, state="failed")
    tidy_once()
    with reading() as session:
        assert [step for _, step in resume_files.usable(session, lately.id)] == [7]
        assert [*resume_files.usable(session, long_ago.id)] == []
    assert not resume_files.folder(long_ago.id, 1).exists()


def test_old_keys_are_forgotten(submit, settled, in_environment):
    assert settled.is_dir()
    job = submit("old")
    submit("new")
    with transaction() as session:
        old = update(IdempotencyKey).where(IdempotencyKey.key == "old")
        session.execute(old.values(created_at=func.now() - text("interval '31 days'")))
    tidy_once()
    with reading() as session:
        assert idempotency.known(session, "old") is None
        assert idempotency.known(session, "new") is not None
    assert job.id in left()
    with in_environment(NPAS_KEEP_KEYS_DAYS="36500"):
        tidy_once()
    with reading() as session:
        assert idempotency.known(session, "new") is not None


def test_messages_for_jobs_that_do_not_wait_go(submit, settled):
    assert settled.is_dir()
    taken, waiting = submit(), submit()
    with transaction() as session:
        assert claims.claim(session, "w").id == taken.id
        session.execute(text("UPDATE outbox SET due_at = now() - interval '2 hours'"))
    tidy_once()
    with reading() as session:
        assert session.scalars(select(OutboxMessage.job_id)).all() == [waiting.id]


def test_what_crashes_left_is_cleared_up(old, submit, settled):
    done, failed, running = old(0), old(0, state="failed"), submit()
    with transaction() as session:
        claims.claim(session, "w")
    for job_id in (failed.id, running.id, "job_0"):
        folder = resume_files.folder(job_id, 2)
        folder.mkdir(parents=True)
        (folder / "pulse").touch()
    log = resume_files.folder(done.id, 1).with_suffix(".log")
    log.write_text("last words")
    tidy_once()
    orphan = settled / "jobs" / "job_0"
    assert orphan.exists()  # its row may be on its way
    os.utime(orphan, (time.time() - 3700,) * 2)
    tidy_once()
    assert not orphan.exists()  # nobody knows it
    assert log.exists()
    assert not resume_files.folder(done.id, 1).exists()  # it did all that was asked
    assert not resume_files.folder(failed.id, 2).exists()
    with reading() as session:
        assert [step for _, step in resume_files.usable(session, failed.id)] == [7]
    assert (resume_files.folder(running.id, 2) / "pulse").exists()
    with reading() as session:
        assert resume_files.untidy(session, settled.glob("jobs/*")) == []


def test_what_nobody_names_goes_after_its_grace(settled, tmp_path, monkeypatch):
    assert settled.is_dir()
    (tmp_path / "file").write_text("unnamed")
    blob = blobs.put(tmp_path / "file")
    tidy_once()
    assert blobs.state(blob) == "stored"
    monkeypatch.setattr("npas_store.garbage.GRACE_SECONDS", 0.0)
    assert tidy_once().files >= 1
    assert blobs.state(blob) == "missing"


def say(job, size):
    log = logs.LogFile(job.id, 1, most_bytes=10**9)
    log.write(b"x" * size)
    log.close()


def test_logs_go_by_age_and_by_size(old, submit, in_environment):
    ancient, older, newer = old(31), old(3), old(2)
    running = submit()
    with transaction() as session:
        claims.claim(session, "w")
    resume_files.folder(running.id, 1).mkdir(parents=True)
    for job in (ancient, older, newer, running):
        say(job, 600_000)
    tidy_once()
    assert [bool(logs.of_claims(j.id)) for j in (ancient, older, newer)] == [False, True, True]
    with in_environment(NPAS_KEEP_LOGS_MEGABYTES="1"):
        tidy_once()
    assert [bool(logs.of_claims(j.id)) for j in (older, newer, running)] == [False, False, True]


def test_backup_that_was_cut_off_is_cleared_up_after_a_day(settled):
    names = ("backup.01234567", "backup.89abcdef", "backup.2026-07")
    new, left, somebodys = (settled / name for name in names)
    for folder in (new, left, somebodys):
        (folder / "blobs").mkdir(parents=True)
    yesterday = time.time() - 90_000
    for folder in (left, somebodys):
        os.utime(folder, (yesterday, yesterday))
    tidy_once()
    assert (new.exists(), left.exists(), somebodys.exists()) == (True, False, True)
    shutil.rmtree(new)
    shutil.rmtree(somebodys)


def test_one_at_a_time_is_enough(old, in_environment):
    job = old(9)
    with in_environment(NPAS_KEEP_JOBS_DAYS="7"):
        with transaction() as session:
            session.execute(text("SELECT pg_advisory_xact_lock(x'6E7061736B'::bigint)"))
            assert tidy_once() == Freed()
            assert job.id in left()
        tidy_once()
    assert left() == set()


def test_what_is_due_waits_when_the_time_is_up(old, in_environment):
    job = old(9)
    with in_environment(NPAS_KEEP_JOBS_DAYS="7"):
        tidy_once(seconds=-1)
        assert left() == {job.id}
        tidy_once()
    assert left() == set()


def swap_for_a_file(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_text("where a folder should be")


def remove(folder):
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("part", ["jobs", "blobs"])
@pytest.mark.parametrize("fault", [swap_for_a_file, remove])
def test_rows_go_on_to_be_tidied_whatever_the_disk_does(old, settled, in_environment, part, fault):
    old(9, model="1")
    fault(settled / part)
    try:
        with in_environment(NPAS_KEEP_JOBS_DAYS="7"):
            tidy_once()
        assert left() == set()
    finally:
        if (settled / part).is_file():
            (settled / part).unlink()


def test_chore_goes_on_after_the_folder_was_not_there(old, settled, in_environment, caplog):
    old(9, model="1")
    marker = settled / "id"
    before = marker.read_text()
    with in_environment(NPAS_KEEP_JOBS_DAYS="7"):
        marker.unlink()
        loop = tidying()
        loop.start()
        while "nothing is deleted" not in caplog.text:
            time.sleep(0.01)
        loop.stop()
        assert len(left()) == 1
        marker.write_text(before)
        again = tidying()
        again.start()
        while left():
            time.sleep(0.01)
        again.wake()  # it is not woken for new jobs
        again.stop()
    assert [*settled.glob("jobs/*")] == []
