"""The API is killed while a dataset arrives and while it is checked: each byte counts once."""

import contextlib
import os
import random
import signal
import sys
import threading
import time

import numpy as np
import pytest
from npas_client import datasets
from npas_client.client import Client
from npas_local.processes import Child, Program
from npas_local.testing import any_port
from npas_store import fsck

PART_BYTES = 8 * 1024
KILLS = 2
SECONDS = 300


@pytest.fixture
def api(store):
    """An API that is started again whenever it dies; yields its process and its address."""
    port = any_port()
    environment = {**os.environ, "NPAS_PORT": str(port), "NPAS_RETRY_SECONDS": "0.1"}
    command, log = [sys.executable, "-m", "npas_api"], store / "logs" / "api.log"
    child, over = (
        Child(Program("api", command, log=log, environment=environment)),
        threading.Event(),
    )

    def tend():
        while not over.wait(0.05):
            if not child.is_alive():
                child.start()

    thread = threading.Thread(target=tend)
    child.start()
    thread.start()
    yield child, f"http://127.0.0.1:{port}"
    over.set()
    thread.join()
    child.stop()


@pytest.fixture
def file(tmp_path):
    """Images that do not compress, so that it takes many parts."""
    chance = np.random.default_rng(5)
    path = tmp_path / "noise.npz"
    images = chance.integers(256, size=(600, 28, 28), dtype=np.uint8)
    labels = np.arange(600) % 3
    train, test = slice(500), slice(500, 600)
    arrays = {"x_train": images[train], "y_train": labels[train]}
    np.savez(path, **arrays, x_test=images[test], y_test=labels[test])
    return path


def kill(child):
    with contextlib.suppress(ProcessLookupError):
        os.kill(child.pid, signal.SIGKILL)


def test_dataset_arrives_whole_however_often_the_api_is_killed(api, file, store, monkeypatch):
    child, url = api
    monkeypatch.setattr(datasets, "PART_BYTES", PART_BYTES)
    chance, killed, checked = random.Random(3), [], []
    moments = sorted(chance.sample(range(file.stat().st_size), KILLS))

    def progress(arrived, total):
        if arrived == total and not checked:
            checked.append(threading.Timer(chance.uniform(0, 0.3), kill, [child]))
            checked[0].start()
        elif moments and arrived > moments[0] and arrived < total:
            moments.pop(0)
            killed.append(threading.Timer(chance.uniform(0, 0.02), kill, [child]))
            killed[-1].start()

    with Client(url, patience=SECONDS) as client:
        wait_until_up(client)
        found = client.upload_dataset(file, progress=progress)
        assert (len(killed), len(checked)) == (KILLS, 1)
        assert found.state == "ready", found.reason
        assert (found.facts["num_train"], found.facts["num_test"]) == (500, 100)
        assert [each.id for each in client.datasets()] == [found.id]
        assert list(fsck.findings(seconds=0)) == []
        client.delete_dataset(found.id)
    assert not list(store.glob("uploads/*/*"))


def wait_until_up(client):
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            next(client.datasets(), None)
        except datasets._AWAY:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return
