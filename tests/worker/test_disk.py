"""A disk that is really full: a small file system, which this process alone sees."""

import json
import os
import subprocess
import sys

import npas
import npas.run
import torch
from npas_store import artifacts, homes, jobs, listings
from npas_store.database import reading, transaction
from npas_store.settings import settings

ON_A_SMALL_DISK = """
import json
import subprocess
import sys

from npas_store import claims, room
from npas_store.database import transaction
from npas_store.settings import settings
from npas_worker.supervisor import Supervisor

LEFT = 200_000  # bytes: room for logs, not for a resume file or a network


def claim(**options):
    with transaction() as session:
        return claims.claim(session, "w", **options)


told = []
for folder in (settings().jobs, settings().blobs):
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "none", folder], check=True)
for folder in (settings().jobs, settings().blobs):
    job = claim(free_bytes=room.free_bytes())
    ballast = folder / "ballast"
    with ballast.open("wb") as file:  # the disk fills after the claim
        file.truncate(0)
        file.write(bytes(room._free(folder) - LEFT))
    Supervisor(job, lambda: False).run()
    with transaction() as session:
        session.get(type(job), job.id).due_at = "now"
    refused = claim(free_bytes=room.free_bytes()) is None
    ballast.unlink()
    left = [str(path) for path in folder.rglob(".*")]
    again = claim(free_bytes=room.free_bytes())
    Supervisor(again, lambda: False).run()
    left += [str(path) for path in settings().jobs.rglob("*") if path.suffix != ".log" and
             path.is_file()]
    told.append({"id": job.id, "refused": refused, "left": left})
json.dump(told, sys.stdout)
"""


def on_a_disk_of_its_own(code):
    """Run Python where it may mount: as root, or as the root of a namespace of its own."""
    own = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "-rm"]
    return subprocess.run(
        [*own, sys.executable, "-c", code], capture_output=True, text=True, check=False
    )


def test_full_disk_costs_nothing_and_tears_nothing(store, spec, in_environment, tmp_path):
    """First where jobs save what they need to go on, then where files are delivered."""
    assert store.is_dir()
    homes.settle()
    training = spec.training.model_copy(update={"epochs": 2})
    asked = [spec.model_copy(update={"training": training, "seed": seed}) for seed in (0, 1)]
    with transaction() as session:
        made = [jobs.create(session, each, npas.plan(each)).id for each in asked]
    with in_environment(NPAS_CHECKPOINT_SECONDS="0", NPAS_DEVICE="cpu"):
        ended = on_a_disk_of_its_own(ON_A_SMALL_DISK)
    assert ended.returncode == 0, "this test mounts a small tmpfs: " + ended.stderr
    told = json.loads(ended.stdout)
    assert [each["id"] for each in told] == made
    assert [(each["refused"], each["left"]) for each in told] == [(True, [])] * 2
    torch.set_num_threads(settings().threads)
    for job_id, each in zip(made, asked, strict=True):
        with reading() as session:
            job = jobs.get(session, job_id)
            outcomes = [attempt.outcome for attempt in jobs.attempts(session, job_id)]
            waits = [row.reason for row in listings.histories(session, [job_id])[job_id]]
            model = artifacts.find(session, job_id, "model.safetensors").sha256
        assert (job.state, job.attempt, job.losses) == ("succeeded", 1, 0), job.reason
        assert outcomes == ["disk_full", "succeeded"]
        (why,) = [reason for reason in waits if reason]
        assert (why["code"], why["retryable"]) == ("disk_full", True)
        assert why["bytes_needed"] > 64 * 2**20
        assert f"{why['bytes_needed']:,} bytes must be free" in why["message"]
        undisturbed = npas.run.run(each, folder=tmp_path / job_id, device="cpu")
        assert model == undisturbed.report["sha256"]
