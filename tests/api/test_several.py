"""NPAS_API_PROCESSES: several processes serve one address, through every loss."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from npas_api import background
from npas_api.several import chores, member
from npas_local.testing import any_port

COMMAND = [sys.executable, "-m", "npas_api"]
SECONDS = 60


def until(found, told):
    """Wait for something to be true, and return it."""
    deadline = time.monotonic() + SECONDS
    while not (value := found()):
        assert time.monotonic() < deadline, told
        time.sleep(0.1)
    return value


def members(pid):
    """Return the processes that serve below a process."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child) for child in found if b"npas_api\0" in command(child)}


def command(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def listeners(port):
    """Return how many sockets listen at a port of this machine."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(
        line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in lines
    )


def test_first_of_several_alone_checks_datasets(monkeypatch, tmp_path):
    everything = list(background.CHORES)
    assert background.checking in everything
    assert chores() == everything  # one process is alone
    for index in range(3):
        with monkeypatch.context() as patch:
            for name, value in member(index, 1, tmp_path).program.environment.items():
                patch.setenv(name, value)
            assert (background.checking in chores()) == (index == 0)
            assert len(chores()) == len(everything) - (index > 0)


@pytest.fixture
def several(store):
    """Two processes that serve; yields the one above them and an address."""
    assert store.is_dir()
    port = any_port()
    environment = os.environ | {
        "NPAS_PORT": str(port),
        "NPAS_API_PROCESSES": "2",
        "NPAS_SILENT_SECONDS": "2",
    }
    with subprocess.Popen(COMMAND, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: listeners(port) == 2, "two processes listen")
            yield process, port
        finally:
            process.kill()


def test_several_serve_one_address_and_survive_each_others_end(several, asked):
    process, port = several
    address = f"http://127.0.0.1:{port}"
    made = httpx.post(f"{address}/v1/jobs", json=asked, timeout=SECONDS).json()
    for _ in range(8):  # each a connection of its own
        assert httpx.get(f"{address}{made['urls']['self']}").json()["id"] == made["id"]

    killed, frozen = members(process.pid)
    os.kill(killed, signal.SIGKILL)
    until(lambda: listeners(port) == 2 and killed not in members(process.pid), "one comes back")
    os.kill(frozen, signal.SIGSTOP)
    until(lambda: frozen not in members(process.pid), "a frozen one is ended")
    until(lambda: listeners(port) == 2, "another takes its place")
    for _ in range(8):
        assert httpx.get(f"{address}/livez").status_code == 200

    with httpx.stream("GET", f"{address}{made['urls']['events']}", timeout=SECONDS) as stream:
        assert stream.status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    assert listeners(port) == 0


def test_several_leave_nothing_behind_when_the_one_above_is_killed(several):
    process, port = several
    below = members(process.pid)
    process.kill()
    process.wait()
    until(lambda: not any(command(pid) for pid in below), "they end with it")
    until(lambda: listeners(port) == 0, "nobody listens")


@pytest.mark.parametrize("number", ["1", "2"])
def test_address_of_another_program_is_refused_in_a_line(services, number):
    assert services.is_dir()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        environment = os.environ | {"NPAS_PORT": str(port), "NPAS_API_PROCESSES": number}
        done = subprocess.run(
            COMMAND, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS
        )
    assert done.returncode != 0
    assert "address already in use" in done.stderr.lower()
    assert "Traceback" not in done.stderr
