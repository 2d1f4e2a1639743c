"""The API is killed while a dataset arrives and while it is checked: each byte counts once."""

import contextlib
import os
import random
import signal
import threading
import time

import numpy as np
import pytest
from npas_client import datasets
from npas_client.client import Client
from npas_client.errors import UnavailableError, UnreachableError
from npas_store import datasets as kept
from npas_store import fsck
from npas_store.database import reading

PART_BYTES = 8 * 1024
KILLS = 2
SECONDS = 300


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


class Killer:
    """Kills the API at moments of an upload.

    Attributes:
        killed: process ids.
    """

    def __init__(self, child, store, moments):
        self._child, self._store, self._moments = child, store, moments
        self._chance, self.killed = random.Random(3), []

    def progress(self, arrived, total):
        """Kill soon after certain bytes, and once the check has begun."""
        if arrived == total and not self._moments:
            self._moments.append(total)
            threading.Thread(target=self._in_the_check, daemon=True).start()
        elif self._moments and self._moments[0] < arrived < total:
            self._moments.pop(0)
            threading.Thread(target=self._soon, daemon=True).start()

    def _soon(self):
        time.sleep(self._chance.uniform(0, 0.02))
        self._kill()

    def _in_the_check(self):
        until(lambda: list(self._store.glob("uploads/*/check-1")))
        self._kill()

    def _kill(self):
        pid = self._child.pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.killed.append(pid)


def test_dataset_arrives_whole_however_often_the_api_is_killed(api, file, store, monkeypatch):
    child, url = api
    monkeypatch.setattr(datasets, "PART_BYTES", PART_BYTES)
    size = file.stat().st_size
    killer = Killer(child, store, [size * n // (KILLS + 1) for n in range(1, KILLS + 1)])
    sent, before = [], remains()  # of other tests, too
    with Client(url, patience=SECONDS) as client:
        until(lambda: is_up(client))
        upload = threading.Thread(
            target=lambda: sent.append(client.upload_dataset(file, progress=killer.progress)),
            daemon=True,
        )
        upload.start()
        upload.join(SECONDS)
        assert sent, "it never ended"
        assert sent[0].state == "ready", sent[0].reason
        assert (sent[0].facts["num_train"], sent[0].facts["num_test"]) == (500, 100)
        assert len(set(killer.killed)) == KILLS + 1
        with reading() as session:
            assert kept.look_up(session, sent[0].id).check_number == 2
        assert [each.id for each in client.datasets()] == [sent[0].id]
        until(lambda: not list(store.glob("uploads/*")))
        assert remains() - before == set()
        client.delete_dataset(sent[0].id)


def remains():
    """Return the files that rows do not know of, and those that they miss."""
    return {(finding.kind, finding.file) for finding in fsck.findings(seconds=0)}


def is_up(client):
    try:
        next(client.datasets(), None)
    except (UnreachableError, UnavailableError):
        return False
    return True


def until(holds):
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
