"""What is wrong between rows and files is found, and repaired or marked."""

import os
import subprocess
import sys

import pytest
from npas_store import artifacts, blobs, events, fsck, resume_files
from npas_store.database import reading, transaction
from npas_store.tables import Dataset, Job
from sqlalchemy import update


def found():
    return sorted((each.kind, each.told.split(" of ")[0]) for each in fsck.findings(seconds=0))


def repair():
    for finding in fsck.findings(seconds=0):
        if finding.repair is not None:
            finding.repair()


def blob_of(job, name="model"):
    with reading() as session:
        return blobs.path(artifacts.find(session, job.id, name).sha256)


def damage(path):
    path.chmod(0o644)
    path.write_text("x" * path.stat().st_size)


def tidy(job):
    with transaction() as session:
        resume_files.retire(session, job.id)


def test_nothing_is_wrong_with_what_jobs_leave(deliver, submit):
    for state in ("succeeded", "failed", "cancelled"):
        tidy(deliver(state, model="1"))
    submit()
    assert found() == []


def test_artifact_that_is_gone_or_damaged_is_told_until_it_is_marked(deliver):
    gone, hurt = deliver(model="gone"), deliver(model="hurt")
    tidy(gone)
    tidy(hurt)
    blob_of(gone).unlink()
    damage(blob_of(hurt))
    assert found() == [("damaged", "model"), ("missing", "model")]
    repair()
    assert found() == []
    with reading() as session:
        last = events.after(session, gone.id)[-1]
    assert (last.type, last.level, last.data["state"]) == ("artifact_lost", "error", "missing")
    assert "the same request makes it again" in last.message


def test_resume_file_that_is_damaged_is_forgotten(deliver):
    job = deliver("failed", model="1")
    tidy(job)
    (file,) = resume_files.folder(job.id, 1).glob("resume/*")
    damage(file)
    assert found() == [("damaged", "resume file")]
    repair()
    assert found() == []
    assert not file.exists()
    with reading() as session:
        assert not resume_files.are_there(session, job.id)


def test_what_nobody_needs_is_told_and_deleted(deliver, settled, tmp_path):
    job = deliver("failed", model="1")
    (tmp_path / "x").write_text("unnamed")
    blob = blobs.path(blobs.put(tmp_path / "x").sha256)
    draft = blob.with_name(f".{blob.name}.01234567")
    draft.touch()
    orphan = settled / "jobs" / "job_0" / "e1"
    orphan.mkdir(parents=True)
    upload = settled / "uploads" / ("ds_" + "0" * 32)
    upload.mkdir(parents=True)
    assert found() == [
        ("unneeded", "blob that no row names"),
        ("unneeded", "draft"),
        ("unneeded", "file"),
        ("unneeded", "files"),
        ("unneeded", "folder"),
    ]
    # What may have a row on its way has an hour.
    assert {each.told for each in fsck.findings()} == {
        "files of a job that ended",
        "file of an upload that needs none",
    }
    repair()
    assert found() == []
    assert not any(path.exists() for path in (blob, draft, orphan, upload))
    assert blob_of(job).exists()


@pytest.mark.parametrize(("format", "word"), [("npz", "arrays"), ("weights", "weights")])
def test_upload_whose_bytes_are_gone_becomes_invalid(settled, tmp_path, format, word):
    assert settled.is_dir()
    (tmp_path / "x").write_text("arrays")
    blob = blobs.put(tmp_path / "x")
    made = {"name": "n", "format": format, "upload_bytes": 1, "state": "ready"}
    with transaction() as session:
        session.add(Dataset(id="ds_1", content_sha256=blob.sha256, content_bytes=6, **made))
    assert found() == []
    blobs.path(blob.sha256).unlink()
    assert found() == [("missing", word)]
    repair()
    assert found() == []
    with reading() as session:
        row = session.get(Dataset, "ds_1")
    assert (row.state, row.reason["code"]) == ("invalid", "invalid_data")
    assert row.reason["message"] == f"its {word} are missing on the server's disk"


def test_start_of_a_job_that_waits_can_only_be_told(submit, settled):
    assert settled.is_dir()
    job = submit()
    with transaction() as session:
        session.execute(update(Job).where(Job.id == job.id).values(start_sha256="0" * 64))
    assert found() == [("missing", f"what {job.id} starts from")]
    repair()
    assert len(found()) == 1


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "npas_store.fsck", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_command_says_what_is_wrong_and_repairs_it(deliver):
    job = deliver("failed", model="1")
    blob_of(job).unlink()
    ended = run()
    assert ended.returncode == 1, ended.stderr
    first, second, last = ended.stdout.splitlines()
    assert first.startswith("missing ")
    assert first.endswith(f"(model of {job.id})")
    assert "files of a job that ended" in second
    assert last == "npas: 2 things were wrong, 2 are"
    ended = run("--repair")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "npas: 2 things were wrong, 0 are"
    ended = run()
    assert (ended.returncode, ended.stdout) == (0, "npas: nothing is wrong\n")


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        (["--fix"], {}, "unknown: --fix"),
        ([], {"NPAS_DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/x"}, "does not answer"),
        ([], {"NPAS_HOME": "/dev/null/x"}, "NPAS_HOME"),
    ],
)
def test_command_says_in_one_line_why_it_cannot_look(settled, arguments, environment, told):
    assert settled.is_dir()
    ended = run(*arguments, **environment)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "secret" not in ended.stderr
