"""What is asked before anybody waits."""

import npas
import numpy as np
import pytest
from npas.data import npz
from npas.errors import DataError, TooLargeError
from npas.jobs.admission import admit
from npas.spec import JobSpec


@pytest.fixture
def folder(tmp_path):
    """A data folder with a dataset of one's own, and a teacher for it."""
    images, labels = np.zeros((40, 8, 8, 1), np.uint8), np.arange(40) % 5
    parts = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    np.savez(tmp_path / "mine.npz", **parts)
    architecture = {"name": "resnet-8", "num_classes": 5, "input_channels": 1, "input_size": 8}
    plan = npas.plan(architecture, method="dense")
    network = npas.share(npas.build(architecture), plan)
    extra = {"mean": [0.5], "std": [0.5], "input_size": 8}
    npas.save(network, tmp_path / "teacher.safetensors", extra=extra)
    return tmp_path


def job(**changes):
    request = {
        "architecture": "resnet-8",
        "budget": {"fraction": 0.5},
        "method": "uniform",
        "dataset": "npz:mine",
        "training": {"distillation": "checkpoint:teacher"},
    }
    return JobSpec.model_validate(request | changes)


def test_admit_returns_the_plan_of_the_job(folder):
    assert admit(job(), folder) == npas.plan(job(), data_folder=folder)


def test_admit_reads_the_facts_of_a_dataset_once(folder, monkeypatch):
    """For arrays of one's own that means all labels, on which a request waits."""
    read, paths = npz.read_npz_facts, []

    def counted(path):
        paths.append(path)
        return read(path)

    monkeypatch.setattr(npz, "read_npz_facts", counted)
    admit(job(), folder, memory_bytes=10**12)
    assert paths == [folder / "mine.npz"]


def test_admit_refuses_what_is_not_there_and_what_has_no_room(folder):
    with pytest.raises(DataError, match=r"put other\.npz in the data folder"):
        admit(job(dataset="npz:other"), folder)
    with pytest.raises(DataError, match=r"put other\.safetensors"):
        admit(job(training={"distillation": "checkpoint:other"}), folder)
    with pytest.raises(TooLargeError, match="of memory"):
        admit(job(), folder, memory_bytes=1000)
