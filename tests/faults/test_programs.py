"""Programs of the service that cannot start say why, in one line."""

import os
import socket
import subprocess
import sys

import pytest

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


def test_up_says_when_the_port_is_taken(home):
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
