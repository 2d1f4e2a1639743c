"""A deleted job leaves nothing, and takes nothing that others need."""

import threading

import pytest
from npas_store import artifacts, blobs, claims, deletion, idempotency, jobs, metrics, resume_files
from npas_store.database import reading, transaction
from npas_store.removal import Freed
from npas_store.tables import Job, Row
from sqlalchemy import func, select, text, update


def rows():
    """Count the rows of every table that has jobs in it, or keys."""
    with reading() as session:
        tables = [t for t in Row.metadata.sorted_tables if t.name not in ("home", "workers")]
        counts = {t.name: session.scalar(select(func.count()).select_from(t)) for t in tables}
    return {name: count for name, count in counts.items() if count}


def test_nothing_is_left_of_a_deleted_job(deliver, settled):
    job = deliver(key="k", model="12345", report="123")
    with transaction() as session:
        metrics.record(session, job.id, {"stage": "train", "epoch": 1})
    log = resume_files.folder(job.id, 1).with_suffix(".log")
    log.write_text("1234567")
    assert {"jobs", "events", "artifacts", "resume_files", "idempotency_keys"} <= rows().keys()
    state = len("a resume file")
    freed = deletion.delete_job(job.id)
    assert freed == Freed(files=5, bytes=5 + 3 + 7 + state)  # the state has two names
    assert rows() == {}
    assert [*settled.glob("blobs/sha256/*/*/*")] == [*settled.glob("jobs/*")] == []
    with pytest.raises(jobs.NoSuchJobError):
        deletion.delete_job(job.id)


def test_files_that_another_job_delivered_stay(deliver):
    one, two = deliver(model="same", plan="one"), deliver(model="same", plan="two!")
    assert deletion.delete_job(one.id).bytes == len("one") + len("a resume file")
    with reading() as session:
        left = {row.name: row for row in artifacts.listing(session, two.id)}
    for row in left.values():
        assert blobs.state(blobs.Blob(sha256=row.sha256, bytes=row.bytes)) == "stored"
    assert deletion.delete_job(two.id).bytes == len("same") + len("two!") + len("a resume file")


def test_what_a_child_starts_from_stays(deliver, submit):
    parent, child = deliver(model="weights"), submit()
    with transaction() as session:
        model = artifacts.find(session, parent.id, "model")
        values = {"parent_id": parent.id, "relation": "continue", "start_sha256": model.sha256}
        session.execute(update(Job).where(Job.id == child.id).values(values))
    deletion.delete_job(parent.id)
    assert blobs.path(model.sha256).exists()
    with transaction() as session:
        assert jobs.get(session, child.id).parent_id is None
        jobs.request_cancel(session, child.id)
    deletion.delete_job(child.id)
    assert not blobs.path(model.sha256).exists()


def test_job_that_goes_on_is_not_deleted(submit):
    job = submit("k")
    before = rows()
    with pytest.raises(deletion.NotEndedError, match="queued"):
        deletion.delete_job(job.id)
    with transaction() as session:
        claims.claim(session, "w")
    with pytest.raises(deletion.NotEndedError, match="running"):
        deletion.delete_job(job.id)
    with transaction() as session:
        deletion.remove_jobs(session, [job.id])
    assert rows().keys() >= before.keys() - {"idempotency_keys"}


def test_of_two_that_delete_a_job_one_does(deliver):
    job, told = deliver(model="1"), []
    gate = threading.Barrier(2)

    def run():
        gate.wait()
        try:
            told.append(deletion.delete_job(job.id).files)
        except jobs.NoSuchJobError:
            told.append(None)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told, key=str) == [3, None]


def test_delete_of_a_parent_waits_for_who_changes_its_child(deliver, submit):
    """Whoever changes a row again in one transaction needs the rows that it refers to."""
    parent, child = deliver(model="1"), submit()
    with transaction() as session:
        session.execute(update(Job).where(Job.id == child.id).values(parent_id=parent.id))
    told = []
    with transaction() as session:
        change = update(Job).where(Job.id == child.id)
        session.execute(change.values(phase="training"))
        deleting = threading.Thread(target=lambda: told.append(deletion.delete_job(parent.id)))
        deleting.start()
        until_somebody_waits()
        session.execute(change.values(phase="evaluating"))
    deleting.join()
    assert told[0].files == 3
    with reading() as session:
        assert jobs.get(session, child.id).parent_id is None


def until_somebody_waits():
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    while True:
        with reading() as session:
            if session.scalar(waiting):
                return


def test_key_of_a_deleted_job_makes_a_new_one(deliver, submit):
    job = deliver(key="k")
    assert submit("k").id == job.id
    deletion.delete_job(job.id)
    with reading() as session:
        assert idempotency.known(session, "k") is None
    assert submit("k").id != job.id


def test_rows_go_though_the_folder_is_not_ours(deliver, settled):
    job = deliver(model="1")
    marker = settled / "id"
    before = marker.read_text()
    marker.write_text("another")
    try:
        assert deletion.delete_job(job.id) == Freed()
    finally:
        marker.write_text(before)
    assert rows() == {}
    assert (settled / "jobs" / job.id).is_dir()  # collected once the folder is right again
