"""A backup of a service makes a service again, and nothing else does."""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import npas
import pytest
from npas.spec import JobSpec
from npas.spec.export import ExportSpec
from npas_local import archive, backup, embedded
from npas_local.attachment import attached
from npas_local.lock import RESTORING, HomeInUseError, locked
from npas_local.restore import RestoreError, restore
from npas_store import (
    artifacts,
    blobs,
    claims,
    exports,
    fsck,
    homes,
    idempotency,
    jobs,
    logs,
    resume_files,
)
from npas_store.database import reading, transaction
from npas_store.settings import Settings, settings


@pytest.fixture(scope="module")
def filled(empty, tmp_path_factory):
    """A service with a job that failed, and one that runs; yields their ids and a backup."""
    folder, services = tmp_path_factory.mktemp("filled"), empty()
    for part in ("blobs", "jobs"):
        shutil.rmtree(services / part, ignore_errors=True)
    asked = {"architecture": "resnet-8", "budget": 80_000, "dataset": "digits", "method": "dense"}
    spec = JobSpec.model_validate(asked)
    plan = npas.plan(spec)
    made = []
    for number in range(2):
        with transaction() as session:
            job = jobs.create(session, spec, plan, f"key {number}")
        with transaction() as session:
            claims.claim(session, "w")
        files = resume_files.folder(job.id, 1)
        files.mkdir(parents=True)
        (files / "state").write_text(f"state {number}")
        kept = resume_files.keep(job.id, 1, files / "state", 7)
        with transaction() as session:
            resume_files.record(session, job.id, 1, kept, blobs.measure(kept), 7)
        log = logs.LogFile(job.id, 1, most_bytes=1000)
        log.write(b"said\n")
        log.close()
        made.append(job.id)
    (folder / "model").write_text("the network")
    with transaction() as session:
        artifacts.record(session, made[0], "model.safetensors", blobs.put(folder / "model"))
        claims.finish(session, made[0], 1, "failed", message="done")
    (folder / "export").write_text("the network, for others")
    with transaction() as session:
        exports.request_export(session, made[0], ExportSpec(), {})
        making = exports.take_export(session)
        blob = blobs.put(folder / "export")
        assert exports.accept_export(session, making, "model.onnx", blob, {})
        exports.request_export(session, made[0], ExportSpec(to="safetensors"), {})
    target = folder / "npas.backup"
    assert backup.back_up(target, settings()) == ()
    assert {path.name for path in folder.iterdir() if path != target} == {"model", "export"}
    assert [*services.glob("backup.*")] == []
    return made, target


def home_of(folder):
    """Return the settings of an embedded service in a folder."""
    return Settings(home=folder, database_url=None, redis_url=None)


@pytest.fixture
def alone(in_environment, monkeypatch):
    """No servers are set: homes have their own."""
    for name in ("NPAS_DATABASE_URL", "NPAS_REDIS_URL"):
        monkeypatch.delenv(name)
    with in_environment():
        yield


@pytest.mark.usefixtures("alone")
def test_restored_service_has_all_of_it_and_an_id_of_its_own(filled, tmp_path, services):
    (ended, running), target = filled
    assert restore(target, home_of(tmp_path / "copy")) == 7
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == [
        *("blobs", "id", "jobs", "lock", "postgres"),
    ]
    with attached(home_of(tmp_path / "copy")):
        with reading() as session:
            homes.check(session)
            assert jobs.get(session, ended).state == "failed"
            assert jobs.get(session, running).state == "running"
            assert idempotency.known(session, "key 1").resource == running
            model = artifacts.find(session, ended, "model.safetensors")
            assert blobs.path(model.sha256).read_text() == "the network"
            found = [(row.state, row.artifact) for row in exports.exports_of(session, ended)]
            assert found == [("succeeded", "model.onnx"), ("queued", None)]
            export = artifacts.find(session, ended, "model.onnx")
            assert blobs.path(export.sha256).read_text() == "the network, for others"
            (file, step) = next(resume_files.usable(session, running))
            assert (file.read_text(), step) == ("state 1", 7)
            assert file.is_relative_to(tmp_path)
        assert logs.last_line(running, 1) == "said"
        assert [f for f in fsck.findings() if f.kind != "unneeded"] == []
    own = (tmp_path / "copy" / "id").read_text().split()
    assert own[0] != (services / "id").read_text().split()[0]


def test_copy_and_original_cannot_take_each_others_files(
    filled, tmp_path, in_environment, services
):
    """The copy's folder with the database of the original, as after a wrong setting."""
    shutil.copytree(
        services, tmp_path / "mistaken", ignore=shutil.ignore_patterns("postgres", "sockets")
    )
    (tmp_path / "mistaken" / "id").write_text("0" * 32 + "\n")
    assert filled
    with (
        in_environment(NPAS_HOME=str(tmp_path / "mistaken")),
        reading() as session,
        pytest.raises(homes.HomeError),
    ):
        homes.check(session)


@pytest.mark.parametrize("at", [0, 100, 0.3, 0.9, -2000, -1])
@pytest.mark.usefixtures("alone")
def test_torn_backup_is_refused_and_leaves_an_empty_home(filled, tmp_path, at):
    whole = filled[1].read_bytes()
    whole = whole[: whole.rindex(b"}") + 1]  # the end of the list; tar's own padding may be gone
    torn = tmp_path / "torn"
    torn.write_bytes(whole[: int(at * len(whole)) if isinstance(at, float) else at])
    with pytest.raises(RestoreError, match=r"cannot be restored: (it|damaged)"):
        restore(torn, home_of(tmp_path / "home"))
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["lock"]


@pytest.mark.usefixtures("alone")
def test_damaged_backup_is_refused(filled, tmp_path):
    whole = filled[1].read_bytes()
    hurt = tmp_path / "hurt"
    hurt.write_bytes(whole.replace(b"the network", b"the netw0rk"))
    with pytest.raises(RestoreError, match="damaged: blobs/"):
        restore(hurt, home_of(tmp_path / "home"))


HARD_LINK, SYMBOLIC_LINK, FIFO = (
    kind.decode() for kind in (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE)
)


def packed(folder, *members):
    """Write a tar of these members: a name, and a content (bytes) or a kind (str)."""
    path = folder / "made.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content.encode(), "/etc/passwd"
                tar.addfile(info)
    return path


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ([("../escaped", b"x")], "nothing that a backup has"),
        ([("/tmp/escaped", b"x")], "nothing that a backup has"),
        ([("jobs/job_" + "0" * 32 + "/e1/resume/../../x", b"x")], "nothing that a backup has"),
        ([(archive.DUMP, SYMBOLIC_LINK)], "nothing that a backup has"),
        ([(archive.DUMP, HARD_LINK)], "nothing that a backup has"),
        ([(archive.DUMP, FIFO)], "nothing that a backup has"),
        ([(archive.DUMP, b"x"), (archive.DUMP, b"x")], "there twice"),
        ([(archive.DUMP, b"x")], "cut off"),
        ([(archive.LIST, b"[]")], "list cannot be read"),
        ([(archive.LIST, b'{"format": 2}')], "format 2, this version reads 1"),
        ([(archive.LIST, b'{"format": 1, "files": {}}')], "no dump"),
        ([(archive.LIST, b'{"format": 1, "files": {}}'), (archive.DUMP, b"")], "after the list"),
        ([], "cut off"),
    ],
)
def test_archive_that_is_no_backup_is_refused(tmp_path, members, told):
    path = packed(tmp_path, *members)
    (tmp_path / "into").mkdir()
    with path.open("rb") as file, pytest.raises(archive.ArchiveError, match=told):
        archive.unpack(file, tmp_path / "into")
    assert not Path("/tmp/escaped").exists()
    assert not (tmp_path / "escaped").exists()


@pytest.mark.usefixtures("alone")
def test_home_that_is_not_empty_is_left_alone(filled, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "mine").write_text("precious")
    with pytest.raises(RestoreError, match="not empty: it has mine"):
        restore(filled[1], home_of(tmp_path / "home"))
    assert (tmp_path / "home" / "mine").read_text() == "precious"
    with locked(tmp_path / "busy"), pytest.raises(HomeInUseError):
        restore(filled[1], home_of(tmp_path / "busy"))


@pytest.mark.usefixtures("alone")
def test_restore_that_was_cut_off_is_done_again_and_not_served(filled, tmp_path):
    home = tmp_path / "home"
    (home / RESTORING / "postgres").mkdir(parents=True)
    (home / "blobs").mkdir()
    with pytest.raises(homes.HomeError, match="do it again"), locked(home):
        pass
    restore(filled[1], home_of(home))
    assert not (home / RESTORING).exists()
    with locked(home):
        pass


def test_restore_wants_a_database_of_its_own(filled, tmp_path):
    with pytest.raises(RestoreError, match="unset NPAS_DATABASE_URL"):
        restore(filled[1], settings().model_copy(update={"home": tmp_path}))


def test_backup_does_not_replace_a_file(filled, tmp_path):
    (tmp_path / "there").write_text("mine")
    with pytest.raises(backup.BackupError, match="is there already"):
        backup.back_up(tmp_path / "there", settings())
    with pytest.raises(backup.BackupError, match="No such file"):
        backup.back_up(tmp_path / "no" / "folder", settings())
    assert filled
    assert [*settings().home.glob("backup.*")] == []


def test_backup_says_what_is_missing(filled, tmp_path):
    (ended, _), _ = filled
    with reading() as session:
        path = blobs.path(artifacts.find(session, ended, "model.safetensors").sha256)
    aside = path.rename(tmp_path / "aside")
    try:
        (missing,) = backup.back_up(tmp_path / "holey", settings())
    finally:
        aside.rename(path)
    assert missing.endswith(path.name)


@pytest.mark.usefixtures("alone")
def test_commands_say_in_one_line_what_is_wrong(tmp_path):
    for program, arguments in (
        ("backup", ()),
        ("backup", (str(tmp_path / "x"),)),
        ("restore", ()),
        ("restore", (str(tmp_path / "none"),)),
        ("fsck", ()),
    ):
        ended = subprocess.run(
            [sys.executable, "-m", f"npas_local.{program}", *arguments],
            env={"PATH": "/usr/bin:/bin", "NPAS_HOME": str(tmp_path / "none"), **_paths()},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 2, (program, ended)
        assert ended.stderr.count("\n") == 1, ended.stderr


def _paths():
    return {name: value for name, value in os.environ.items() if name == "PYTHONPATH"}


def test_address_of_a_service_that_runs_is_found(services):
    with embedded.running(services / "other", redis=False) as servers:
        assert embedded.url_of(services / "other") == servers.database_url
