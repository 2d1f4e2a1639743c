"""The whole service as a user starts it: one command, one folder, nothing left behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from npas_local import embedded

START_SECONDS = 300


@pytest.fixture
def home():
    with tempfile.TemporaryDirectory(prefix="npas-up-") as folder:
        yield Path(folder)


class Up:
    """`python -m npas_local.serve` on a folder."""

    def __init__(self, home, **settings):
        without = {name: value for name, value in os.environ.items() if "NPAS_" not in name}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "npas_local.serve"],
            env={**without, "NPAS_HOME": str(home), "NPAS_PORT": "0", **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def url(self):
        assert self.process.stdout.readline() == "npas is starting\n", self.process.communicate()
        line = self.process.stdout.readline()
        assert line.startswith("npas is ready: http://127.0.0.1:"), self.process.communicate()
        return line.split()[-1]

    def until_said(self, words):
        """Wait until a line on standard output has words in it."""
        too_late = threading.Timer(START_SECONDS, self.process.kill)
        too_late.start()
        try:
            while words not in (line := self.process.stdout.readline()):
                assert line, f"it never said {words!r}"
        finally:
            too_late.cancel()

    def end(self, number):
        """Send a signal; return exit code and what was said since."""
        self.process.send_signal(number)
        out, error = self.process.communicate(timeout=300)
        return self.process.returncode, out, error


def below(pid):
    """Return all processes that descend from one."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {pid}
    while grown := {child for child, above in parents.items() if above in found} - found:
        found |= grown
    return found - {pid}


def wait_until(holds, seconds=START_SECONDS):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def has_worker(url):
    return bool(get(f"{url}/readyz")["workers"])


def test_up_leaves_nothing_behind_and_starts_again(home):
    up = Up(home)
    url = up.url()
    wait_until(lambda: has_worker(url))
    everyone = below(up.process.pid)
    assert len(everyone) >= 5  # postgres, redis, api, worker and its pool; postgres has helpers

    code, _, error = up.end(signal.SIGKILL)
    assert code == -signal.SIGKILL, error
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in everyone))
    assert not embedded._processes_in(home / "postgres" / "cluster")

    again = Up(home)
    url = again.url()
    second = Up(home)
    _, error = second.process.communicate(timeout=300)
    assert second.process.returncode == 1
    assert "already runs npas" in error

    wait_until(lambda: has_worker(url))
    everyone = below(again.process.pid)
    code, told, error = again.end(signal.SIGINT)
    assert (code, error) == (0, "")
    assert "npas is stopping" in told
    # What the API and the worker started dies with them, by the kernel, a moment later.
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in everyone))


def test_up_says_when_the_port_is_taken(home):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        environment = {**os.environ, "NPAS_HOME": str(home)}
        environment["NPAS_PORT"] = str(server.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, "-m", "npas_local.serve"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert ended.returncode == 1
    assert "NPAS_PORT" in ended.stderr


def command(pid):
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def named(word, pid):
    """Return the one process below another whose command has a word of its own."""
    (found,) = [p for p in below(pid) if word in command(p)]
    return found


def is_ready(url):
    try:
        return has_worker(url)
    except OSError:
        return False


def test_up_starts_a_frozen_api_again(home):
    up = Up(home, NPAS_SILENT_SECONDS="3")
    url = up.url()
    frozen = named("npas_api", up.process.pid)
    os.kill(frozen, signal.SIGSTOP)
    wait_until(lambda: not Path(f"/proc/{frozen}").exists())
    wait_until(lambda: is_ready(url))
    _, told, _ = up.end(signal.SIGINT)
    assert told.count("api did not answer any more and was ended\n") == 1
    assert told.count("api had ended and was started again\n") == 1


def test_up_mends_sockets_that_were_removed(home):
    up = Up(home, NPAS_SILENT_SECONDS="3", NPAS_RENOTIFY_SECONDS="1")
    url = up.url()
    wait_until(lambda: is_ready(url))
    sockets = (home / "sockets").readlink()
    shutil.rmtree(sockets)
    wait_until(lambda: (sockets / "redis.sock").exists())
    wait_until(lambda: (sockets / ".s.PGSQL.5432").exists())
    wait_until(lambda: is_ready(url))
    _, told, _ = up.end(signal.SIGINT)
    assert "postgres did not answer any more" in told
    assert "redis did not answer any more" in told


WRONG = ({"NPAS_LEASE_SECONDS": "0"}, "npas: NPAS_LEASE_SECONDS: ")
UNWRITABLE = ({"NPAS_HOME": "/proc/npas"}, "npas: NPAS_HOME: /proc/npas cannot be written (")
AWAY = ({"NPAS_DATABASE_URL": "postgresql://127.0.0.1:1/x"}, "npas: Postgres does not answer: ")


@pytest.mark.parametrize(
    ("program", "cause"),
    [
        ("npas_local.serve", WRONG),
        ("npas_local.serve", AWAY),
        ("npas_local.serve", UNWRITABLE),
        ("npas_store.migrate", AWAY),
        ("npas_api", WRONG),
        ("npas_worker", AWAY),
    ],
)
def test_programs_say_in_one_line_why_they_cannot_start(program, cause, home):
    setting, told = cause
    ended = subprocess.run(
        [sys.executable, "-m", program],
        env={**os.environ, "NPAS_HOME": str(home), "NPAS_PORT": "0", **setting},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode in (1, 2)
    assert ended.stderr.startswith(told)
    assert ended.stderr.count("\n") == 1


def test_up_says_when_redis_does_not_answer(home):
    up = Up(home, NPAS_REDIS_URL="redis://127.0.0.1:1/0")
    up.url()
    up.until_said("Redis does not answer")
    up.end(signal.SIGINT)
