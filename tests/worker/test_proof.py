"""A worker finds out whether a training could run on it, and says what stands in the way."""

import subprocess
import sys

import pytest
from npas_store import machine, measurements
from npas_store.database import transaction
from npas_worker.proof import Proof, read_answer


def proven():
    proof = Proof()
    proof.find_out()
    return proof


@pytest.mark.usefixtures("store")
def test_proof_holds_where_device_and_folders_work(in_environment):
    with in_environment(NPAS_DEVICE="cpu"):
        proof = proven()
    assert (proof.is_fit, proof.trouble) == (True, None)
    assert proof.memory_bytes == machine.memory_bytes()
    assert len(proof.speed["loops"]) == 2
    with transaction() as session:
        measurements.record(session, proof.machine, measurements.PROBE, proof.speed)
    with in_environment(NPAS_DEVICE="cpu"):
        assert proven().speed is None  # it is known for today
    proof.demand()
    assert not proof.is_fit


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("device", ["cuda:99", "cuda"])
def test_proof_names_a_device_that_does_not_work(device, in_environment):
    with in_environment(NPAS_DEVICE=device):
        proof = proven()
    assert (proof.is_fit, proof.is_sick) == (False, True)
    assert f"device {device!r} does not work: " in proof.trouble


@pytest.mark.parametrize("name", ["jobs", "blobs"])
def test_proof_names_a_folder_that_cannot_be_written(name, store, in_environment):
    folder = store / name
    aside = folder.with_name("aside")
    if folder.exists():
        folder.rename(aside)
    folder.write_text("a file where the folder should be")
    try:
        with in_environment(NPAS_DEVICE="cpu"):
            proof = proven()
    finally:
        folder.unlink()
        if aside.exists():
            aside.rename(folder)
    assert not proof.is_fit
    assert f"{folder} cannot be written: " in proof.trouble


@pytest.mark.usefixtures("store")
def test_proof_names_a_home_of_another_database(tmp_path, in_environment):
    proven()  # so that the database has a home
    with in_environment(NPAS_HOME=str(tmp_path), NPAS_DEVICE="cpu"):
        proof = proven()
    assert "NPAS_HOME: the files of this database lie in another folder" in proof.trouble


@pytest.mark.parametrize(
    ("code", "trouble", "found"),
    [
        (
            "import sys; sys.stderr.write('driver: warning\\n'); print('{\"memory_bytes\": 7}')",
            None,
            {"memory_bytes": 7},
        ),
        ("print('driver: hello'); print('{\"memory_bytes\": 7}')", None, {"memory_bytes": 7}),
        ("import sys; sys.stderr.write('hm'); print('no device'); sys.exit(1)", "no device", {}),
        ("import sys; sys.exit('no torch')", "the probe ended with 1: no torch", {}),
        ("import os; os.kill(os.getpid(), 11)", "the probe ended with -11", {}),
        ("print('seven')", "the probe's answer cannot be read: 'seven'", {}),
        ("print('7')", "the probe's answer cannot be read: '7'", {}),
        ("", "the probe's answer cannot be read: ''", {}),
    ],
)
def test_answer_of_a_probe_is_read_whatever_drivers_write(code, trouble, found):
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert read_answer(ended) == (trouble, found)
