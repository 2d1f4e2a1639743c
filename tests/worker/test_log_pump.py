"""What a training says reaches its log, whatever happens to either."""

import subprocess
import sys

import pytest
from npas_store import logs, resume_files
from npas_worker.log_pump import LogPump

JOB = "job_pump"


@pytest.fixture
def pumped(store):
    """Run a program whose output is pumped into the log of a claim; return the log."""
    assert store.is_dir()

    def run(program, most_bytes=1_000_000):
        logs.delete_logs(JOB)
        resume_files.folder(JOB, 1).mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, bufsize=0
        )
        pump = LogPump(process.stdout, logs.LogFile(JOB, 1, most_bytes=most_bytes))
        process.wait()
        pump.finish()
        return logs.whole(logs.of_claims(JOB)[1])

    yield run
    logs.delete_logs(JOB)


def test_last_words_of_a_training_that_is_killed_are_kept(pumped):
    program = "import os\nos.write(1, b'x' * 50000 + b'\\nlast words')\nos.kill(os.getpid(), 9)"
    assert pumped(program).endswith(b"x\nlast words")


def test_training_that_writes_without_end_fills_no_disk(pumped):
    program = "import sys\nfor n in range(300_000): print('line', n)\nprint('the end')"
    said = pumped(program, most_bytes=200_000)
    assert 100_000 - 100 <= len(said) <= 200_000
    assert said.endswith(b"line 299999\nthe end\n")


def test_line_without_end_comes_through(pumped):
    program = "import os\nfor n in range(30): os.write(1, b'x' * 50000)"
    assert pumped(program, most_bytes=10_000_000) == b"x" * 1_500_000


def test_password_is_masked_though_it_comes_in_pieces(pumped):
    program = (
        "import os, time\nfor piece in (b'to postgresql://me:sec', b'ret@host failed\\n'):\n"
        "    os.write(1, piece)\n    time.sleep(0.1)"
    )
    assert pumped(program) == b"to postgresql://me:***@host failed\n"


def test_training_does_not_wait_for_a_log_that_cannot_be_written(pumped, store):
    blocked = store / "jobs" / JOB / "e1.log"
    blocked.mkdir(parents=True)
    try:
        with pytest.raises(KeyError):  # there is no log
            pumped("import os\nfor n in range(30): os.write(1, b'x' * 50000)")
    finally:
        blocked.rmdir()
