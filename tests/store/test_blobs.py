"""Files by content, files to resume from, and the rows that name them."""

import contextlib
import hashlib

import pytest
from npas_store import artifacts, blobs, claims, metrics, plans, resume_files
from npas_store.database import reading, transaction


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights" * 1000)
    return path


def test_blob_is_named_by_its_hash(services, file):
    blob = blobs.put(file)
    assert blob.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert blob.bytes == 7000
    assert blobs.path(blob.sha256).read_bytes() == file.read_bytes()
    assert blobs.path(blob.sha256).is_relative_to(services)


@pytest.mark.usefixtures("services")
def test_blob_put_again_is_the_same_file(file):
    first = blobs.path(blobs.put(file).sha256).stat()
    again = blobs.path(blobs.put(file).sha256).stat()
    assert (first.st_ino, first.st_mtime_ns) == (again.st_ino, again.st_mtime_ns)


@pytest.mark.usefixtures("services")
@pytest.mark.parametrize("content", [b"weighty" * 1000, b"", b"longer" * 9000])
def test_blob_that_was_damaged_is_replaced(file, content):
    blob = blobs.put(file)
    path = blobs.path(blob.sha256)
    path.chmod(0o644)
    path.write_bytes(content)
    assert blobs.state(blob) == "damaged"
    assert blobs.put(file) == blob
    assert path.read_bytes() == file.read_bytes()
    assert blobs.state(blob) == "stored"


@pytest.mark.usefixtures("services")
def test_blob_is_put_where_a_folder_has_taken_its_place(file):
    blob = blobs.put(file)
    path = blobs.path(blob.sha256)
    path.unlink()
    (path / "inner").mkdir(parents=True)
    assert blobs.state(blob) == "damaged"
    assert blobs.put(file) == blob
    assert blobs.state(blob) == "stored"


@pytest.mark.usefixtures("services")
def test_blob_that_nobody_put_is_missing():
    assert blobs.state(blobs.Blob(sha256="0" * 64, bytes=1)) == "missing"


@pytest.mark.usefixtures("services")
def test_blob_store_keeps_no_drafts(file):
    folder = blobs.path(blobs.put(file).sha256).parent
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "A" * 64, "0" * 63, ""])
def test_path_refuses_what_is_no_hash(name):
    with pytest.raises(ValueError, match="not a SHA-256"):
        blobs.path(name)


def test_artifacts_are_listed_by_name_and_replaced(submit, file):
    job = submit()
    blob = blobs.put(file)
    file.write_bytes(b"better")
    better = blobs.put(file)
    with transaction() as session:
        for name, found in (("report.json", blob), ("model.safetensors", blob)):
            artifacts.record(session, job.id, name, found)
        artifacts.record(session, job.id, "model.safetensors", better)
    with reading() as session:
        rows = artifacts.listing(session, job.id)
        assert [(row.name, row.bytes, row.kind, row.media_type) for row in rows] == [
            ("model.safetensors", 6, "model", "application/octet-stream"),
            ("report.json", 7000, "report", "application/json"),
        ]
        assert artifacts.find(session, job.id, "model.safetensors").sha256 == better.sha256
        assert artifacts.find(session, job.id, "other") is None


@pytest.mark.parametrize(
    ("name", "kind", "media_type"),
    [
        ("plan.json", "plan", "application/json"),
        ("metrics.csv", "metrics", "text/csv"),
        ("curve.svg", "picture", "image/svg+xml"),
        ("notes", "file", "application/octet-stream"),
    ],
)
def test_artifact_kinds_follow_from_names(name, kind, media_type):
    assert (artifacts.kind(name), artifacts.media_type(name)) == (kind, media_type)


def test_metrics_reported_twice_are_kept_once_in_order_of_training(submit):
    job = submit()
    with transaction() as session:
        for stage, epoch, loss in (
            ("train", 1, 2.0),
            ("search", 1, float("nan")),
            ("train", 2, 1.0),
            ("train", 1, 2.5),
        ):
            metrics.record(session, job.id, {"stage": stage, "epoch": epoch, "train_loss": loss})
    with reading() as session:
        rows = metrics.rows(session, job.id)
    assert [(row["stage"], row["epoch"], row["train_loss"]) for row in rows] == [
        ("search", 1, None),
        ("train", 1, 2.5),
        ("train", 2, 1.0),
    ]


def test_plan_recorded_again_is_replaced(submit):
    job = submit()
    with transaction() as session:
        for document in ("{}", '{"x": 1}'):
            plans.record(session, job.id, 2, document)
    with reading() as session:
        first, last = plans.versions(session, job.id)
        assert (first.version, last.version, last.document) == (0, 2, '{"x": 1}')
        assert plans.versions(session, "job_0") == []


@pytest.fixture
def saved(submit):
    """Register resume files of a claimed job, and return the names they are kept under."""
    job = submit()
    with transaction() as session:
        claims.claim(session, "w")
    resume_files.folder(job.id, 1).mkdir(parents=True)

    def save(step):
        written = resume_files.folder(job.id, 1) / "state"
        written.write_text(f"step {step}")
        kept = resume_files.keep(job.id, 1, written, step)
        written.unlink()
        with transaction() as session:
            resume_files.record(session, job.id, 1, kept, blobs.measure(kept), step)
        return kept

    return job, save


def usable(job):
    with reading() as session:
        return [step for _, step in resume_files.usable(session, job.id)]


def test_last_two_resume_files_are_kept_whatever_their_writer_deletes(saved):
    job, save = saved
    files = [save(step) for step in (10, 20, 30)]
    assert usable(job) == [30, 20]
    assert [file.exists() for file in files] == [False, True, True]


def test_no_resume_file_is_deleted_by_a_transaction_that_fails(saved):
    job, save = saved
    files = [save(step) for step in (10, 20)]
    with contextlib.suppress(ZeroDivisionError), transaction() as session:
        resume_files.record(session, job.id, 1, files[1], blobs.measure(files[1]), 30)
        raise ZeroDivisionError
    assert [file.exists() for file in files] == [True, True]


@pytest.mark.parametrize("damage", [lambda file: file.write_text("x"), lambda file: file.unlink()])
def test_damaged_resume_files_are_not_offered(saved, damage):
    job, save = saved
    save(10)
    damage(save(20))
    assert usable(job) == [10]


def end(job, state, why=None):
    with transaction() as session:
        claims.finish(session, job.id, 1, state, message="done", why=why)
        resume_files.retire(session, job.id)


@pytest.mark.parametrize(
    ("state", "why", "kept"),
    [
        ("succeeded", None, []),
        ("succeeded", {"code": "timeout"}, [20]),
        ("failed", {"code": "worker_lost"}, [20]),
        ("cancelled", {"code": "user_cancelled"}, [20]),
    ],
)
def test_of_an_ended_job_stays_what_a_retry_goes_on_from(saved, state, why, kept):
    job, save = saved
    files = [save(10), save(20)]
    (resume_files.folder(job.id, 1) / "pulse").touch()
    log = resume_files.folder(job.id, 1).with_suffix(".log")
    log.write_text("")
    end(job, state, why)
    assert usable(job) == kept
    assert [file.exists() for file in files] == [False, bool(kept)]
    assert not (resume_files.folder(job.id, 1) / "pulse").exists()
    assert resume_files.folder(job.id, 1).exists() is bool(kept)
    assert log.exists()


def test_file_that_is_gone_or_cut_is_not_the_one_that_is_kept(saved):
    job, save = saved
    files = [save(10), save(20)]
    files[1].write_text("cut")
    end(job, "failed", {"code": "worker_lost"})
    assert usable(job) == [10]


def test_nothing_of_a_job_that_goes_on_is_retired(saved):
    job, save = saved
    save(10)
    with transaction() as session:
        resume_files.retire(session, job.id)
    assert usable(job) == [10]
    with transaction() as session:
        claims.drain(session, job.id, 1)
        resume_files.retire(session, job.id)
    assert usable(job) == [10]
