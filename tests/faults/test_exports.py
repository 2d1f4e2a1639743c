"""Who makes an export is killed at any moment: it ends with a file or a reason, and no rest."""

import os
import signal
import time
from pathlib import Path

import httpx
import npas
import pytest
from npas.spec import JobSpec
from npas_store import artifacts, blobs, claims, exports, fsck, jobs
from npas_store.database import reading, transaction
from npas_store.settings import settings

SECONDS = 900  # of a machine that does much else

REQUEST = {
    "architecture": "resnet-8",
    "budget": {"fraction": 0.6},
    "method": "superweights",
    "dataset": "digits",
}


@pytest.fixture
def job_id(store, tmp_path):
    """A job that has delivered a network that was never trained."""
    assert store.is_dir()
    spec = JobSpec.model_validate(REQUEST)
    plan = npas.plan(spec)
    with transaction() as session:
        job = jobs.create(session, spec, plan)
    with transaction() as session:
        claims.claim(session, "w")
    npas.save(npas.share(npas.build(plan.networks[0].architecture), plan), tmp_path / "net")
    blob = blobs.put(tmp_path / "net")
    with transaction() as session:
        artifacts.record(session, job.id, "model.safetensors", blob)
        claims.finish(session, job.id, 1, "succeeded", message="done")
    return job.id


def export_of(job_id):
    with reading() as session:
        (row,) = exports.exports_of(session, job_id)
    return row


def makers(export_id, number):
    """Return the processes that make a try of an export."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = (folder / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if b"npas_local.export_process" in told and f"{export_id}-{number}".encode() in told:
            found.append(int(folder.name))
    return found


def until(holds):
    deadline = time.monotonic() + SECONDS
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def ask(url, job_id, **body):
    def answered():
        try:
            answer = httpx.post(f"{url}/v1/jobs/{job_id}/exports", json=body, timeout=60)
        except httpx.TransportError:
            return None
        return answer if answer.status_code != 503 else None

    answer = until(answered)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def remains():
    """Return what is left over or missing."""
    return {(finding.kind, finding.file) for finding in fsck.findings(seconds=0)}


def test_export_is_made_however_often_its_makers_are_killed(api, job_id):
    child, url = api
    before = remains()
    export_id = ask(url, job_id, to="torch.export")
    folder = settings().jobs / job_id

    def maker(number):
        (pid,) = until(lambda: makers(export_id, number))
        return pid

    os.kill(maker(1), signal.SIGKILL)  # it has hardly begun
    second = maker(2)
    until(lambda: [*folder.glob("export-*-2/.product*"), *folder.glob("export-*-2/product")])
    os.kill(second, signal.SIGKILL)  # it writes
    maker(3)
    os.kill(child.pid, signal.SIGKILL)  # the service, and with it the process
    until(lambda: not makers(export_id, 3))
    maker(4)
    until(lambda: export_of(job_id).state in ("succeeded", "failed"))
    row = export_of(job_id)
    assert (row.state, row.artifact, row.number) == ("succeeded", "model.pt2", 4), row.reason
    until(lambda: not [*folder.glob("export-*")])
    assert remains() - before == set()


def test_export_whose_makers_are_always_killed_fails_with_a_reason(
    in_environment, request, job_id
):
    with in_environment(NPAS_MAX_ATTEMPTS="2"):
        _, url = request.getfixturevalue("api")
    before = remains()
    export_id = ask(url, job_id, to="safetensors")
    for number in (1, 2):
        (pid,) = until(lambda number=number: makers(export_id, number))
        os.kill(pid, signal.SIGKILL)
    until(lambda: export_of(job_id).state == "failed")
    assert export_of(job_id).reason["code"] == "export_lost"
    assert "ended with -9" in export_of(job_id).reason["message"]
    assert not [*(settings().jobs / job_id).glob("export-*")]
    assert remains() - before == set()
