"""Which programs `up` runs, and on which devices."""

import os

import pytest
from npas_store.settings import settings
from npas_store.up import devices, programs


@pytest.mark.parametrize(
    ("visible", "found"),
    [("2,3", ["2", "3"]), ("GPU-1a, GPU-2b", ["GPU-1a", "GPU-2b"]), ("1,-1,2", ["1"]), ("", [])],
)
def test_devices_are_those_that_cuda_may_see(visible, found, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices("auto") == devices("cuda") == found
    assert devices("cpu") == devices("cuda:1") == []


def test_programs_are_a_worker_for_each_device_and_share_the_cores(
    tmp_path, in_environment, monkeypatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    with in_environment(NPAS_HOME=str(tmp_path), NPAS_DEVICE="auto"):
        _, *workers = programs(settings(), dict(os.environ))
    told = [
        (worker.name, worker.environment["CUDA_VISIBLE_DEVICES"], worker.environment["NPAS_SLOTS"])
        for worker in workers
    ]
    assert told == [("worker-0", "2", "2"), ("worker-1", "3", "2")]


def test_programs_on_the_cpu_are_one_worker(tmp_path, in_environment, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    with in_environment(NPAS_HOME=str(tmp_path), NPAS_DEVICE="cpu"):
        _, *workers = programs(settings(), dict(os.environ))
    assert [(worker.name, worker.environment["NPAS_SLOTS"]) for worker in workers] == [
        ("worker", "1")
    ]
