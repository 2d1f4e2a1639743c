"""Which programs `up` runs, and on which devices."""

import os
import socket

import pytest
from npas_local.processes import StartError
from npas_local.serve import devices, free_port, programs
from npas_store.settings import settings


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
        (
            worker.name,
            worker.program.environment["CUDA_VISIBLE_DEVICES"],
            worker.program.environment["NPAS_SLOTS"],
        )
        for worker in workers
    ]
    assert told == [("worker-0", "2", "2"), ("worker-1", "3", "2")]


def test_programs_on_the_cpu_are_one_worker(tmp_path, in_environment, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    with in_environment(NPAS_HOME=str(tmp_path), NPAS_DEVICE="cpu"):
        _, *workers = programs(settings(), dict(os.environ))
    assert [(worker.name, worker.program.environment["NPAS_SLOTS"]) for worker in workers] == [
        ("worker", "1")
    ]


def test_free_port_is_one_of_the_loopback_of_either_family(in_environment):
    with in_environment(NPAS_HOST="::1", NPAS_PORT="0"):
        found = settings()
    try:
        with socket.socket(socket.AF_INET6) as mine:
            mine.bind(("::1", 0))
    except OSError:  # a machine without IPv6
        with pytest.raises(StartError, match=r"cannot listen on ::1:0 .*NPAS_HOST"):
            free_port(found)
        return
    with socket.socket(socket.AF_INET6) as mine:
        mine.bind(("::1", free_port(found)))


def test_free_port_is_not_one_that_is_taken(in_environment):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with (
            in_environment(NPAS_HOST="127.0.0.1", NPAS_PORT=str(port)),
            pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{port} .*NPAS_PORT"),
        ):
            free_port(settings())
