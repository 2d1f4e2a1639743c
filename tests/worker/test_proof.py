"""A worker finds out whether a training could run on it, and says what stands in the way."""

import pytest
from npas_worker.proof import Proof


def proven():
    proof = Proof()
    proof.find_out()
    return proof


@pytest.mark.usefixtures("store")
def test_proof_holds_where_device_and_folders_work(in_environment):
    with in_environment(NPAS_DEVICE="cpu"):
        proof = proven()
    assert (proof.is_fit, proof.trouble) == (True, None)
    assert proof.memory_bytes > 2**20
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
