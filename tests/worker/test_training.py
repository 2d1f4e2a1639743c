"""The process that trains one claim, when the machine beneath it fails."""

import os
import subprocess
import sys

from npas_store import jobs, resume_files
from npas_store.database import reading
from npas_worker.protocol import ENDED


def train(job_id, **environment):
    """Start the training of the first claim; what it says can be read."""
    resume_files.folder(job_id, 1).mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "npas_worker.train_process", job_id, "1"],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_training_waits_for_postgres_that_is_away_when_it_starts(fragile):
    job_id, postgres = fragile
    postgres.stop()
    process = train(job_id)
    said = next(line for line in process.stdout if "Postgres is away" in line)
    postgres.start()
    rest = process.communicate()[0]
    assert process.returncode == ENDED, said + rest
    with reading() as session:
        job = jobs.get(session, job_id)
    assert (job.state, job.losses) == ("succeeded", 0), job.reason
