"""The whole service as a user starts it: one command, one folder, nothing left behind."""

import os
import shutil
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import npas
from npas_local import embedded

START_SECONDS = 300


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
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.1)


def has_worker(url):
    answer = httpx.get(f"{url}/readyz")
    return answer.is_success and bool(answer.json()["workers"])


CHANGED = """
from npas import methods

method = methods.find("uniform")
before = method.allocate


def allocate(table, budget, options, **others):
    return before(table, budget, options.model_copy(update={"bins": 1}), **others)


method.allocate = allocate
"""
"""What Python imports first: it changes a method, as an upgrade between two starts would."""

REQUEST = {
    "architecture": "resnet-8",
    "budget": {"fraction": 0.6},
    "method": "uniform",
    "dataset": {"name": "digits", "train_images": 100, "test_images": 20},
    "training": {"epochs": 1, "batch_size": 32},
}


def are_gone(processes):
    return not any(Path(f"/proc/{pid}").exists() for pid in processes)


def test_up_leaves_nothing_behind_and_trains_the_plan_it_promised_after_another_start(
    up, home, tmp_path
):
    first = up(NPAS_LEASE_SECONDS="2")
    url = first.url()
    wait_until(lambda: has_worker(url))
    everyone = below(first.process.pid)
    assert len(everyone) >= 5  # postgres, redis, api, worker and its pool; postgres has helpers

    job = httpx.post(f"{url}/v1/jobs", json=REQUEST).json()
    promised = httpx.get(f"{url}/v1/jobs/{job['id']}/plan").text
    code, _, error = first.end(signal.SIGKILL)
    assert code == -signal.SIGKILL, error
    wait_until(lambda: are_gone(everyone))
    assert not embedded._processes_in(home / "postgres" / "cluster")

    (tmp_path / "sitecustomize.py").write_text(CHANGED)
    restarted = datetime.now(UTC)
    again = up(PYTHONPATH=str(tmp_path), NPAS_LEASE_SECONDS="2")
    url = again.url()
    code, _, error = up().end()
    assert code == 1
    assert "already runs npas" in error

    resource = f"{url}/v1/jobs/{job['id']}"
    assert httpx.post(f"{url}/v1/plans", json=REQUEST, timeout=60).text != promised
    wait_until(lambda: httpx.get(resource).json()["is_terminal"])
    job = httpx.get(resource).json()
    assert job["state"] == "succeeded", job["reason"]
    assert datetime.fromisoformat(job["finished_at"]) > restarted
    assert httpx.get(f"{resource}/plan").text == promised
    model = tmp_path / "model.safetensors"
    model.write_bytes(
        httpx.get(f"{resource}/artifacts/{model.name}", follow_redirects=True).content
    )
    assert npas.load(model).plan == npas.Plan.from_json(promised)

    everyone = below(again.process.pid)
    code, told, error = again.end(signal.SIGINT)
    assert (code, error) == (0, "")
    assert "npas is stopping" in told
    # What the API and the worker started dies with them, by the kernel, a moment later.
    wait_until(lambda: are_gone(everyone))


def command(pid):
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def named(word, pid):
    """Return the one process below another whose command has a word of its own."""
    (found,) = [p for p in below(pid) if word in command(p)]
    return found


def is_ready(url):
    try:
        return has_worker(url)
    except httpx.HTTPError:
        return False


def test_up_starts_a_frozen_api_again_and_mends_sockets_that_were_removed(up, home):
    service = up(NPAS_SILENT_SECONDS="3", NPAS_RENOTIFY_SECONDS="1")
    url = service.url()
    frozen = named("npas_api", service.process.pid)
    os.kill(frozen, signal.SIGSTOP)
    service.until_said("api did not answer any more and was ended\n")
    wait_until(lambda: is_ready(url))

    sockets = (home / "sockets").readlink()
    shutil.rmtree(sockets)
    service.until_said("postgres did not answer any more")
    service.until_said("redis did not answer any more")
    wait_until(lambda: (sockets / "redis.sock").exists())
    wait_until(lambda: (sockets / ".s.PGSQL.5432").exists())
    wait_until(lambda: is_ready(url))
    _, told, _ = service.end(signal.SIGINT)
    assert told.count("api did not answer any more and was ended\n") == 1
    assert told.count("api had ended and was started again\n") == 1


def test_up_says_when_redis_does_not_answer(up):
    service = up(NPAS_REDIS_URL="redis://127.0.0.1:1/0")
    service.until_said("Redis does not answer")
    service.end(signal.SIGINT)
