"""Whatever ends the demonstration, nothing that it started goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from npas_client.client import Client
from npas_client.local import LocalService, LocalServiceError

SECONDS = 300


def processes(word):
    """Those whose command line or environment has the word."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
        except OSError:  # it has ended, or is another user's
            continue
        if word.encode() in told:
            found.append(int(folder.name))
    return found


def hear_interrupts():
    """Undo what a shell does to the commands it runs in the background: they ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def demo(tmp_path):
    """The demonstration with its service up, in a folder of its own."""
    with subprocess.Popen(
        [sys.executable, "-m", "npas_client.demo"],
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_interrupts,
    ) as process:
        while not process.stdout.readline().startswith("Ready at"):
            assert process.poll() is None, process.stderr.read()
        assert len(processes(str(tmp_path))) > 4
        yield process
        process.kill()


@pytest.mark.parametrize(
    ("sent", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_demo_ends_everything_it_started(demo, tmp_path, sent, status):
    demo.send_signal(sent)
    assert demo.wait(SECONDS) == status
    deadline = time.monotonic() + SECONDS
    while left := processes(str(tmp_path)):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_local_service_keeps_the_settings_of_others_out(tmp_path, monkeypatch):
    monkeypatch.setenv("NPAS_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing")
    monkeypatch.setenv("NPAS_PORT", "9")
    with LocalService(tmp_path / "home", tmp_path / "log") as service:
        with Client(service.url) as client:
            assert client.is_ready()
        assert not service.url.endswith(":9")


def test_local_service_that_cannot_start_shows_its_log(tmp_path):
    (tmp_path / "home").write_text("a file where a folder must be")
    with pytest.raises(LocalServiceError, match="ended with status") as caught:
        LocalService(tmp_path / "home", tmp_path / "log").__enter__()
    assert str(tmp_path / "log") in str(caught.value)
