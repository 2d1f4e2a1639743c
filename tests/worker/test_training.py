"""The process that trains one claim, when the machine beneath it fails or its code changed."""

import os
import subprocess
import sys

import npas
from npas_store import artifacts, blobs, claims, jobs, plans, resume_files
from npas_store.database import reading, transaction
from npas_worker.protocol import ENDED

CHANGED = """
from npas import methods

method = methods.find("uniform")
before = method.allocate


def allocate(table, budget, options, **others):
    return before(table, budget, options.model_copy(update={"bins": 1}), **others)


method.allocate = allocate
"""
PLANNED = """
import sys
from pathlib import Path
import npas

spec = npas.JobSpec.model_validate_json(Path(sys.argv[1]).read_text())
sys.stdout.write(npas.plan(spec).to_json())
"""


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


def test_training_is_of_the_plan_that_was_promised_though_the_planner_changed(
    store, spec, tmp_path
):
    """What Python imports first changes a method, as an upgrade between two starts would."""
    assert store.is_dir()
    asked = spec.model_validate(
        {**spec.model_dump(mode="json"), "method": "uniform", "budget": {"fraction": 0.6}}
    )
    promised = npas.plan(asked)
    with transaction() as session:
        job_id = jobs.create(session, asked, promised).id
    with transaction() as session:
        assert claims.claim(session, "w").id == job_id
    (tmp_path / "sitecustomize.py").write_text(CHANGED)
    changed = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    (tmp_path / "spec.json").write_text(asked.model_dump_json())
    planned = subprocess.run(
        [sys.executable, "-c", PLANNED, tmp_path / "spec.json"],
        env={**os.environ, **changed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert npas.Plan.from_json(planned.stdout) != promised
    process = train(job_id, **changed)
    said = process.communicate()[0]
    assert process.returncode == ENDED, said
    with reading() as session:
        assert jobs.get(session, job_id).state == "succeeded", said
        kept = [row.document for row in plans.versions(session, job_id)]
        model = artifacts.find(session, job_id, "model.safetensors")
    assert kept == [promised.to_json()]
    assert npas.load(blobs.path(model.sha256)).plan == promised
