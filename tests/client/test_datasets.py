"""A dataset is sent from Python, goes on where it broke off, and is trained on."""

import hashlib
import io
import re

import npas
import numpy as np
import pytest
from npas.spec import ArchitectureSpec
from npas_client import datasets, errors
from npas_client.client import Client
from safetensors.torch import save_file

PATH = "/v1/datasets/ds_1/content"
CONTENT = bytes(range(256)) * 8
ROW = {
    **{"id": "ds_1", "name": "mine", "dataset": "uploaded:ds_1", "format": "npz"},
    **{"state": "uploading", "upload_bytes": len(CONTENT), "received_bytes": 0},
}


class Service:
    """Takes bytes as the real one does, but for the faults that a test asks for."""

    def __init__(self, scripted, reply):
        self.received, self.faults, self.reply = b"", [], reply
        scripted.replies["/v1/datasets"] = self.announce
        scripted.replies["/v1/datasets/ds_1"] = self.look
        scripted.replies[PATH] = self.take
        self.scripted, self.unfinished = scripted, []

    def answer(self, value, **options):
        import json

        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        return self.reply(body=json.dumps(value).encode(), headers=headers, **options)

    def announce(self, request):
        if request.method == "GET":
            return self.answer({"data": [], "uploaded": self.unfinished, "has_more": False})
        return self.answer(ROW, status=201)

    def look(self, _request):
        state = "ready" if len(self.received) == len(CONTENT) else "uploading"
        return self.answer({**ROW, "state": state, "received_bytes": len(self.received)})

    def refusal(self, status, code):
        return self.answer({"code": code, "detail": code, "status": status}, status=status)

    def take(self, request):
        start, last = map(int, re.findall(r"\d+", request.headers["content-range"])[:2])
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "lost before":
            return self.reply(hang_up=True)
        if fault == "busy":
            return self.refusal(409, "upload_busy")
        if start != len(self.received):
            code = "upload_ended" if len(self.received) == len(CONTENT) else "upload_offset"
            return self.refusal(409, code)
        taken = request.body[: len(request.body) // 2] if fault == "half" else request.body
        assert len(request.body) == last - start + 1
        self.received += taken
        if fault == "lost after":
            return self.reply(hang_up=True)
        if fault == "half":
            return self.refusal(400, "upload_length")
        return self.answer(ROW, headers={"Upload-Offset": str(len(self.received))})


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.npz"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def service_of(scripted, reply, monkeypatch):
    monkeypatch.setattr(datasets, "PART_BYTES", 500)
    monkeypatch.setattr(datasets, "PAUSE_SECONDS", 0.01)
    return Service(scripted, reply)


FAULTS = [
    [],
    ["lost before"],
    ["", "lost after"],
    ["half", "busy", "half"],
    [*[""] * 4, "lost after"],
]


@pytest.mark.parametrize("faults", FAULTS, ids=str)
def test_bytes_arrive_once_and_in_order_whatever_happens(service_of, scripted, file, faults):
    service_of.faults = list(faults)
    told = []
    with Client(scripted.url) as client:
        dataset = client.upload_dataset(file, progress=lambda done, _: told.append(done))
    assert service_of.received == CONTENT
    assert dataset.state == "ready"
    assert told == sorted(told)
    assert told[-1] == len(CONTENT)


def test_an_upload_that_broke_off_is_continued(service_of, scripted, file):
    digest = hashlib.sha256(CONTENT).hexdigest()
    row = {**ROW, "received_bytes": 900, "upload_sha256": digest, "options": {}, "labels": {}}
    service_of.unfinished, service_of.received = [{**row, "upload_bytes": 3}, row], CONTENT[:900]
    with Client(scripted.url) as client:
        client.upload_dataset(file)
    assert service_of.received == CONTENT
    assert {request.method for request in scripted.seen("/v1/datasets")} == {"GET"}
    first = scripted.seen(PATH)[0]
    assert first.headers["content-range"] == f"bytes 900-1399/{len(CONTENT)}"


def test_a_service_that_takes_nothing_is_given_up(service_of, scripted, file):
    service_of.faults = ["busy"] * 1000
    with Client(scripted.url, patience=0.2) as client, pytest.raises(errors.UploadError):
        client.upload_dataset(file)


def test_a_dataset_that_is_gone_is_told(service_of, scripted, file):
    scripted.replies[PATH] = lambda _: service_of.refusal(409, "upload_ended")
    with Client(scripted.url) as client, pytest.raises(errors.ConflictError, match="upload_ended"):
        client.upload_dataset(file)


def test_a_dataset_is_sent_trained_on_and_deleted(service, tmp_path):
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    labels = np.arange(60) % 3
    images = (labels[:, None, None, None] * 80 + rng.integers(0, 40, (60, 8, 8, 3))).astype("u1")
    np.savez(file, x_train=images, y_train=labels, x_test=images[:30], y_test=labels[:30])
    path = tmp_path / "mine.npz"
    path.write_bytes(file.getvalue())
    with Client(service.url) as client:
        dataset = client.upload_dataset(path, name="three classes", labels={"team": "vision"})
        assert (dataset.state, dataset.reason) == ("ready", None)
        assert dataset.facts["num_classes"] == 3
        assert [found.id for found in client.datasets(name="three classes")] == [dataset.id]
        job = client.submit(
            {
                **{"architecture": "resnet-8", "budget": {"fraction": 0.9}, "method": "uniform"},
                **{"dataset": dataset.dataset, "training": {"epochs": 1, "batch_size": 16}},
            }
        )
        with pytest.raises(errors.ConflictError, match=job.id):
            client.delete_dataset(dataset.id)
        job = client.wait(job.id)
        assert job.state == "succeeded", job.reason
        assert job.result.dataset == dataset.dataset
        assert client.delete_dataset(dataset.id) > dataset.upload_bytes // 2
        with pytest.raises(errors.NotFoundError):
            client.dataset(dataset.id)


def test_weights_are_sent_and_a_job_starts_from_them(service, tmp_path):
    path = tmp_path / "trained.safetensors"
    network = npas.build(ArchitectureSpec(name="resnet-8", input_channels=1), seed=0)
    save_file(network.state_dict(), path)
    with Client(service.url) as client:
        weights = client.upload_weights(path, labels={"team": "vision"})
        assert (weights.state, weights.reason, weights.name) == ("ready", None, "trained")
        assert (weights.dataset, weights.checkpoint) == (None, weights.upload_sha256)
        asked = {
            **{"architecture": "resnet-8", "budget": {"fraction": 0.9}, "method": "uniform"},
            **{"dataset": "digits", "start": {"checkpoint": weights.checkpoint}},
        }
        with pytest.raises(errors.InvalidRequestError, match="the file has no"):
            client.submit(asked | {"architecture": "resnet-14"})
        job = client.wait(client.submit(asked | {"training": {"epochs": 1}}).id)
        assert job.state == "succeeded", job.reason
        assert job.spec.start.checkpoint == weights.checkpoint
        assert client.delete_dataset(weights.id) == 0  # the job still names it
