"""A blob goes with the last row that names it, and never while one is being named."""

import random
import threading
import time

import pytest
from npas_store import artifacts, blobs, deletion, garbage, homes, removal
from npas_store.database import reading, transaction
from npas_store.removal import Freed
from npas_store.tables import Artifact, Dataset, Job
from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import OperationalError


@pytest.fixture
def put(settled, tmp_path):
    """Put a file with this text into the store."""
    assert settled.is_dir()

    def write(content):
        path = tmp_path / "file"
        path.write_text(content)
        return path, blobs.put(path)

    return write


def is_there(blob):
    return blobs.state(blob) == "stored"


def test_collect_deletes_what_no_row_names_and_counts_it(put):
    _, blob = put("nobody's")
    assert garbage.collect([blob.sha256, blob.sha256]) == Freed(files=1, bytes=8)
    assert blobs.state(blob) == "missing"
    assert garbage.collect([blob.sha256]) == Freed()


def name_as_artifact(session, job, blob):
    artifacts.record(session, job.id, "model.safetensors", blob)


def name_as_start(session, job, blob):
    session.execute(update(Job).where(Job.id == job.id).values(start_sha256=blob.sha256))


def name_as_content(session, _job, blob):
    made = {"name": "n", "format": "npz", "upload_bytes": 1}
    session.add(Dataset(id="ds_1", content_sha256=blob.sha256, **made))


def name_as_thumbnails(session, _job, blob):
    made = {"name": "n", "format": "npz", "upload_bytes": 1}
    session.add(Dataset(id="ds_1", thumbnails_sha256=blob.sha256, **made))


NAMES = (name_as_artifact, name_as_start, name_as_content, name_as_thumbnails)


@pytest.mark.parametrize("name", NAMES)
def test_collect_keeps_what_a_row_names(put, submit, name):
    _, blob = put("somebody's")
    job = submit()
    with transaction() as session:
        name(session, job, blob)
    assert garbage.collect([blob.sha256]) == Freed()
    assert is_there(blob)


def test_every_column_that_names_a_blob_is_asked():
    columns = {
        column
        for table in garbage.REFERENCES[0].class_.metadata.tables.values()
        for column in table.columns
        if "sha256" in column.name
    }
    asked = {reference.property.columns[0] for reference in garbage.REFERENCES}
    assert {f"{c.table.name}.{c.name}" for c in columns - asked} == {
        "datasets.upload_sha256",  # of what was sent, which is not kept
        "jobs.dataset_sha256",  # what it was trained on, though it may be gone
        "resume_files.sha256",  # lie in folders of their own
    }


def test_collect_waits_for_who_is_about_to_name_a_blob(put, submit):
    file, blob = put("shared")
    job, freed = submit(), []
    with transaction() as session:
        garbage.secure(session, {file: blob})
        collector = threading.Thread(target=lambda: freed.append(garbage.collect([blob.sha256])))
        collector.start()
        until_somebody_waits()
        artifacts.record(session, job.id, "model.safetensors", blob)
    collector.join()
    assert freed == [Freed()]
    assert is_there(blob)


def until_somebody_waits():
    waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    while True:
        with reading() as session:
            if session.scalar(waiting):
                return


def test_collect_leaves_for_later_what_is_being_named_for_long(put):
    file, blob = put("slow")
    with transaction() as session:
        garbage.secure(session, {file: blob})
        assert garbage.collect([blob.sha256]) == Freed()
        assert is_there(blob)
    assert garbage.collect([blob.sha256]).files == 1


def test_collect_that_lost_its_lock_puts_back_what_a_row_names_now(put, submit, monkeypatch):
    """It slept so long that the server ended its transaction, and somebody named the blob."""
    file, blob = put("named meanwhile")
    job, seen = submit(), []
    referenced = garbage.referenced

    def sleep(session, hashes):
        found = referenced(session, hashes)
        own = session.scalar(text("SELECT pg_backend_pid()"))
        with transaction() as other:
            other.execute(text("SELECT pg_terminate_backend(:own)"), {"own": own})
        with transaction() as other:
            garbage.secure(other, {file: blob})
            artifacts.record(other, job.id, "model.safetensors", blob)
        seen.append(is_there(blob))
        return found

    monkeypatch.setattr(garbage, "referenced", sleep)
    with pytest.raises(OperationalError):
        garbage.collect([blob.sha256])
    assert seen == [True]
    assert is_there(blob)


def test_delivery_puts_again_what_was_deleted_since_it_was_put(put, submit):
    file, blob = put("twice")
    garbage.collect([blob.sha256])  # the last job that named it was deleted
    job = submit()
    with transaction() as session:
        garbage.secure(session, {file: blob})
        artifacts.record(session, job.id, "model.safetensors", blob)
    assert is_there(blob)


def test_no_row_is_left_without_its_blob_however_deliveries_and_deletions_meet(deliver, tmp_path):
    """Four threads deliver the same few files again and again, and delete the jobs at once."""
    jobs = [deliver(model=str(n)).id for n in range(8)]
    gate, errors = threading.Barrier(4), []

    def work(seed):
        chance = random.Random(seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            gate.wait()
            for _ in range(25):
                file = folder / "model"
                file.write_text(str(chance.randrange(3)))
                deliver_again(chance.choice(jobs), file)
                forget(chance.choice(jobs))
        except Exception as error:
            errors.append(error)

    def deliver_again(job_id, file):
        blob = blobs.put(file)
        with transaction() as session:
            garbage.secure(session, {file: blob})
            artifacts.record(session, job_id, file.name, blob)

    def forget(job_id):
        with transaction() as session:
            of_job = delete(Artifact).where(Artifact.job_id == job_id)
            named = session.scalars(of_job.returning(Artifact.sha256)).all()
        garbage.collect(named)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with reading() as session:
        rows = session.execute(select(Artifact.sha256, Artifact.bytes)).all()
    assert [row for row in rows if not is_there(blobs.Blob(sha256=row[0], bytes=row[1]))] == []


def test_old_blobs_and_drafts_are_collected_and_new_ones_left_alone(put, deliver):
    job = deliver(model="named")
    _, new = put("new")
    draft = blobs.path(new.sha256).with_name(f".{new.sha256}.01234567")
    draft.write_text("half")
    other = draft.with_name("notes.txt")
    other.write_text("not ours")
    freed = garbage.collect_old(until=time.monotonic() + 60, seconds=60)
    assert (freed, is_there(new), draft.exists()) == (Freed(), True, True)
    freed = garbage.collect_old(until=time.monotonic() + 60, seconds=0)
    assert (freed.files >= 2, is_there(new), draft.exists()) == (True, False, False)
    assert other.exists()
    other.unlink()
    with reading() as session:
        kept = artifacts.find(session, job.id, "model")
        assert blobs.path(kept.sha256).exists()


def test_collecting_stops_when_its_time_is_up(put):
    _, blob = put("later")
    assert garbage.collect_old(until=time.monotonic() - 1, seconds=0) == Freed()
    assert is_there(blob)


def test_nothing_is_deleted_in_the_folder_of_another_database(put, settled):
    _, blob = put("theirs")
    marker = settled / "id"
    before = marker.read_text()
    marker.write_text("another")
    try:
        with pytest.raises(homes.HomeError):
            garbage.collect([blob.sha256])
    finally:
        marker.write_text(before)
    assert is_there(blob)


def test_what_the_disk_does_not_let_go_stops_nothing_else(put):
    _, stuck = put("stuck")
    path = blobs.path(stuck.sha256)
    path.unlink()
    (path / "inner").mkdir(parents=True)  # cannot be unlinked, by nobody
    _, other = put("other")
    assert garbage.collect([stuck.sha256, other.sha256]) == Freed(files=1, bytes=5)
    assert path.is_dir()
    assert deletion.clear([], [stuck.sha256]) == Freed()


def test_file_with_two_names_is_free_with_the_second(tmp_path):
    first, second, inner = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    first.write_text("12345")
    second.hardlink_to(first)
    assert removal.remove_file(first) == Freed(files=1, bytes=0)
    assert removal.remove_file(second) == Freed(files=1, bytes=5)
    (inner / "d").mkdir(parents=True)
    (inner / "d" / "kept").write_text("1")
    (inner / "gone").write_text("12")
    (inner / "link").symlink_to("elsewhere")
    freed = Freed(files=2, bytes=2 + len("elsewhere"))
    assert removal.remove_folder(inner, but=inner / "d" / "kept") == freed
    assert [path.name for path in inner.rglob("*")] == ["d", "kept"]
    assert removal.remove_folder(inner).files == 1
    assert not inner.exists()
    assert removal.remove_folder(inner) == Freed()
