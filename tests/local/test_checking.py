"""A dataset is checked in a process that may do little, and ends as ready or refused."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from npas_local import checking
from npas_local.checking import Checker
from npas_store import blobs, datasets, uploads
from npas_store.database import reading, transaction
from npas_store.tables import Dataset


def npz(**changes):
    """Four arrays as an .npz file."""
    images = np.arange(40 * 64 * 3, dtype=np.uint64).astype(np.uint8).reshape(40, 8, 8, 3)
    labels = np.arange(40) % 4
    arrays = {"x_train": images, "y_train": labels, "x_test": images[:20], "y_test": labels[:20]}
    file = io.BytesIO()
    np.savez(file, **arrays | changes)
    return file.getvalue()


@pytest.fixture
def sent(store):
    """Send these bytes as a dataset; return its id."""
    assert store.is_dir()

    def send(content, format="npz", **options):
        dataset_id = uploads.new_dataset_id()
        with transaction() as session:
            uploads.declare(
                session,
                dataset_id=dataset_id,
                name="mine",
                format=format,
                options=options,
                labels={},
                num_bytes=len(content),
                sha256=None,
            )
        part = uploads.Part.open(dataset_id, 0)
        part.write(content)
        part.keep()
        part.close()
        return dataset_id

    return send


def row(dataset_id):
    with reading() as session:
        return datasets.look_up(session, dataset_id)


def left(dataset_id):
    """What is on the disk of a dataset on its way."""
    return [path.name for path in uploads.folder_of(dataset_id).rglob("*")]


def checkers():
    """The processes that check something now."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
        except (OSError, UnicodeDecodeError):
            continue
        if "npas_local.check_process" in words:
            found.append(int(entry.name))
    return found


def wait_until(holds):
    deadline = time.monotonic() + 60
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def test_a_whole_dataset_becomes_ready(sent):
    dataset_id = sent(npz())
    assert Checker().check_all() == 1
    found = row(dataset_id)
    assert (found.state, found.reason, found.check_number) == ("ready", None, 1)
    assert found.facts["num_train"] == 40
    assert datasets.file(dataset_id).samefile(blobs.path(found.content_sha256))
    assert blobs.path(found.thumbnails_sha256).read_bytes().startswith(b"\x89PNG")
    assert left(dataset_id) == []


def test_bad_data_are_refused_with_the_librarys_words(sent):
    dataset_id = sent(npz(y_train=np.zeros(40, int), y_test=np.zeros(20, int)))
    Checker().check_all()
    found = row(dataset_id)
    assert (found.state, found.reason["code"]) == ("invalid", "invalid_data")
    assert "one class" in found.reason["message"]
    assert found.content_sha256 is None
    assert left(dataset_id) == []


def test_nothing_is_unpickled(sent, tmp_path):
    mark = tmp_path / "executed"

    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {mark}",)

    dataset_id = sent(npz(y_test=np.array([Bomb()] * 20, dtype=object)))
    Checker().check_all()
    assert row(dataset_id).state == "invalid"
    assert not mark.exists()


def test_limits_of_memory_are_met_with_a_reason(sent, in_environment):
    """The arrays are allowed; what reads them has not enough memory."""
    images = np.zeros((400_000, 16, 16, 3), np.uint8)
    labels = np.arange(400_000) % 4
    file = io.BytesIO()
    np.savez_compressed(file, x_train=images, y_train=labels, x_test=images[:9], y_test=labels[:9])
    dataset_id = sent(file.getvalue())
    with in_environment(NPAS_CHECK_MEGABYTES="512"):
        Checker().check_all()
    found = row(dataset_id)
    assert (found.state, found.reason["code"]) == ("invalid", "invalid_data")
    assert left(dataset_id) == []


def test_time_is_limited(sent, monkeypatch, in_environment):
    dataset_id = sent(npz())
    _run_instead(monkeypatch, "import time; time.sleep(600)")
    with in_environment(NPAS_CHECK_SECONDS="1"):
        Checker().check_all()
    found = row(dataset_id)
    assert (found.state, found.reason["code"]) == ("invalid", "invalid_data")
    assert "more than 1 s" in found.reason["message"]
    assert "NPAS_CHECK_SECONDS" in found.reason["hint"]


def _run_instead(monkeypatch, program):
    """Have another program run with the limits of a check."""
    real = subprocess.Popen

    def start(words, **options):
        if "npas_local.check_process" in words:
            words = [sys.executable, "-c", program, *words[4:]]
        return real(words, **options)

    monkeypatch.setattr(checking.subprocess, "Popen", start)


LIMITED = {
    "processor": ("while True: pass", {"NPAS_CHECK_SECONDS": "1"}, "more than 1 s"),
    "crash": ("import os; os.abort()", {}, "SIGABRT"),
}


@pytest.mark.parametrize("name", LIMITED)
def test_what_the_kernel_ends_is_refused(sent, monkeypatch, in_environment, name):
    program, environment, told = LIMITED[name]
    dataset_id = sent(npz())
    _run_instead(monkeypatch, program)
    with in_environment(**environment):
        Checker().check_all()
    assert row(dataset_id).state == "invalid"
    assert told in row(dataset_id).reason["message"]


REPORTS = """
import json, os, resource, sys
folder = json.loads(sys.argv[1])["folder"]
limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE,
          resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_CPU)]
told = {"environment": dict(os.environ),
        "limits": limits, "user": os.geteuid(), "cwd": os.getcwd(),
        "caps": open("/proc/self/status").read().split("CapEff:")[1].split()[0],
        "session": os.getsid(0) == os.getpid()}
try:
    open(folder + "/large", "wb").truncate(2**40)
except OSError as error:
    told["large"] = error.errno
json.dump({"refused": {"message": json.dumps(told)}}, open(folder + "/answer.json", "w"))
"""


def test_a_check_may_do_little(sent, monkeypatch, in_environment):
    dataset_id = sent(npz())
    _run_instead(monkeypatch, REPORTS)
    monkeypatch.setenv("NPAS_SECRET", "x")
    with in_environment(NPAS_CHECK_MEGABYTES="1024", NPAS_CHECK_SECONDS="77"):
        Checker().check_all()
    told = json.loads(row(dataset_id).reason["message"])
    assert told["limits"] == [2**30, 2**30, 128, 0, 77]
    assert told["large"] == errno.EFBIG
    assert told["session"]
    assert not {name for name in told["environment"] if name.startswith(("NPAS", "PG"))}
    assert told["cwd"] == told["environment"]["HOME"]
    assert Path(told["cwd"]).is_relative_to(uploads.folder_of(dataset_id))
    if os.geteuid() == 0:
        assert told["user"] != 0
        assert int(told["caps"], 16) == 0


LINKS = """
import json, os, sys
folder = json.loads(sys.argv[1])["folder"]
os.symlink("/etc/passwd", folder + "/content.npz")
json.dump({"found": {"facts": {}}}, open(folder + "/answer.json", "w"))
"""


def _end_pause(dataset_id):
    with transaction() as session:
        datasets.look_up(session, dataset_id).lease_until = None


@pytest.mark.parametrize("program", [LINKS, "raise SystemExit(3)", "print('hello')"])
def test_a_process_that_misbehaves_is_lost_and_its_dataset_checked_again(
    sent, monkeypatch, in_environment, program
):
    dataset_id = sent(npz())
    with monkeypatch.context() as patch, in_environment(NPAS_RETRY_SECONDS="60"):
        _run_instead(patch, program)
        assert Checker().check_all() == 1
        assert row(dataset_id).state == "processing"
        assert row(dataset_id).reason["code"] == "check_lost"
        assert Checker().check_all() == 0
    _end_pause(dataset_id)
    Checker().check_all()
    assert (row(dataset_id).state, row(dataset_id).reason) == ("ready", None)
    assert left(dataset_id) == []


def test_a_dataset_whose_check_is_lost_too_often_is_refused(sent, monkeypatch, in_environment):
    dataset_id = sent(npz())
    _run_instead(monkeypatch, "raise SystemExit('no luck')")
    with in_environment(NPAS_RETRY_SECONDS="0", NPAS_MAX_ATTEMPTS="2"):
        assert Checker().check_all() == 2
    found = row(dataset_id)
    assert (found.state, found.reason["code"]) == ("invalid", "check_lost")
    assert "no luck" in found.reason["message"]
    uploads.expire_once()
    assert left(dataset_id) == []


@pytest.fixture
def checking_now(sent):
    """A dataset whose check runs: its id, the checker, its thread and process."""
    dataset_id, checker, before = sent(npz()), Checker(), set(checkers())
    thread = threading.Thread(target=checker.check_all)
    thread.start()
    (process,) = wait_until(lambda: set(checkers()) - before)
    os.kill(process, signal.SIGSTOP)
    yield dataset_id, checker, thread, process
    checker.stop()
    thread.join()


def test_a_check_that_is_killed_is_done_again(checking_now):
    dataset_id, _, thread, process = checking_now
    os.kill(process, signal.SIGKILL)
    thread.join()
    assert row(dataset_id).reason["code"] == "check_lost"
    _end_pause(dataset_id)
    Checker().check_all()
    assert (row(dataset_id).state, row(dataset_id).check_number) == ("ready", 2)


def test_a_check_that_is_stopped_is_given_back(checking_now):
    dataset_id, checker, thread, process = checking_now
    checker.stop()
    thread.join()
    assert not Path(f"/proc/{process}").exists()
    assert (row(dataset_id).state, row(dataset_id).check_number) == ("processing", 0)
    assert left(dataset_id) == ["upload"]
    Checker().check_all()
    assert row(dataset_id).state == "ready"


def test_a_check_whose_dataset_is_deleted_ends(checking_now):
    dataset_id, _, thread, process = checking_now
    datasets.delete_dataset(dataset_id)
    os.kill(process, signal.SIGCONT)
    thread.join()
    with reading() as session:
        assert session.get(Dataset, dataset_id) is None
    assert left(dataset_id) == []


def test_a_check_leaves_the_room_that_it_must(sent, in_environment):
    dataset_id = sent(npz())
    with in_environment(NPAS_FREE_MEGABYTES="1000000000"):
        Checker().check_all()
    found = row(dataset_id)
    assert (found.state, found.reason["code"], found.check_number) == (
        "processing",
        "disk_full",
        0,
    )
    assert left(dataset_id) == ["upload"]


@pytest.mark.parametrize("name", ["ca\0t", "x" * 201, "a\nb"])
def test_names_that_a_database_cannot_keep_are_refused(sent, name):
    dataset_id = sent(npz(class_names=np.array([name + "!", "b", "c", "d"])))
    Checker().check_all()
    found = row(dataset_id)
    assert (found.state, found.reason["code"]) == ("invalid", "invalid_data")
    assert "the class" in found.reason["message"]


def test_an_answer_that_the_database_refuses_is_the_files_fault(sent, monkeypatch):
    dataset_id = sent(npz())
    monkeypatch.setattr(checking, "_read_answer", lambda _: {"refused": {"message": "a\0b"}})
    Checker().check_all()
    found = row(dataset_id)
    assert (found.state, found.reason["code"]) == ("invalid", "invalid_data")
    assert "cannot be stored" in found.reason["message"]


def test_an_answer_that_is_too_long_is_the_files_fault(sent, monkeypatch):
    dataset_id = sent(npz())
    monkeypatch.setattr(checking, "_MAX_ANSWER_BYTES", 100)
    Checker().check_all()
    assert (row(dataset_id).state, row(dataset_id).reason["code"]) == ("invalid", "invalid_data")


def test_a_lost_upload_is_refused(sent):
    dataset_id = sent(npz())
    uploads.content(dataset_id).unlink()
    Checker().check_all()
    assert (row(dataset_id).state, row(dataset_id).reason["code"]) == ("invalid", "upload_lost")
