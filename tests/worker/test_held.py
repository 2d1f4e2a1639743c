"""What a killed pool process leaves behind for the one that follows it."""

import os
import subprocess
import sys

from npas_worker.held import HeldClaim

KILLED = """
import os, signal
from npas_worker.held import HeldClaim
held = HeldClaim()
if os.fork() == 0:
    held.note("job_" + "a" * 32, 17)
    os.kill(os.getpid(), signal.SIGKILL)
os.wait()
print(*held.read())
"""


def test_claim_of_a_killed_process_can_be_read():
    ended = subprocess.run(
        [sys.executable, "-c", KILLED], env=os.environ, capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == ["job_" + "a" * 32, "17"]


def test_claim_that_was_left_is_held_no_more():
    held = HeldClaim()
    assert held.read() is None
    held.note("job_1", 1)
    held.note("job_2", 23)
    assert held.read() == ("job_2", 23)
    held.clear()
    assert held.read() is None
