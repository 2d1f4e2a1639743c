"""Weights that users send: checked before a job may name them, compared before one is queued."""

import hashlib
import json
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import npas
import pytest
import torch
from npas.spec import ArchitectureSpec
from npas_client.client import Client
from npas_local.checking import Checker
from npas_store import blobs, datasets, garbage, uploads
from npas_store.database import reading
from npas_store.tables import Job
from safetensors.torch import save
from sqlalchemy import func, select

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.fixture
def upload(store, client):
    """Send weights and have them checked; return them as they are then."""
    assert store.is_dir()

    def send(content, **changes):
        asked = {"name": "trained", "format": "weights", "bytes": len(content), **changes}
        answer = client.post("/v1/datasets", json=asked)
        assert answer.status_code == 201, answer.text
        urls = answer.json()["urls"]
        assert client.put(urls["content"], content=content).is_success
        assert Checker().check_all() == 1
        return client.get(urls["self"]).json()

    return send


def network():
    """The weights of a network for digits, which are grey."""
    spec = ArchitectureSpec(name="resnet-8", input_channels=1)
    return npas.build(spec, seed=0).state_dict()


def headed(header, data=b"\0" * 8):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def num_jobs():
    with reading() as session:
        return session.scalar(select(func.count()).select_from(Job))


def test_weights_become_what_jobs_start_from(upload, submit):
    content = save(network())
    sent = upload(content)
    sha256 = hashlib.sha256(content).hexdigest()
    assert (sent["state"], sent["checkpoint"], sent["dataset"]) == ("ready", sha256, None)
    assert sent["report"]["tensors"]["conv.weight"] == ["F32", [16, 1, 3, 3]]
    assert sent["facts"]["num_tensors"] == len(sent["report"]["tensors"])
    assert blobs.path(sha256).read_bytes() == content
    assert not datasets.file(sent["id"]).exists()
    assert not uploads.folder_of(sent["id"]).exists()
    job = submit(start={"checkpoint": sha256})
    assert job["spec"]["start"]["checkpoint"] == sha256


def test_prefixes_of_wrappers_are_put_up_with(upload, submit):
    tensors = {f"module._orig_mod.{name}": tensor for name, tensor in network().items()}
    assert submit(start={"checkpoint": upload(save(tensors))["checkpoint"]})


def test_file_that_npas_wrote_is_one_too(upload, submit, tmp_path):
    plan = npas.plan("resnet-8", budget={"fraction": 0.75}, dataset="digits")
    model = npas.share(npas.build(plan.networks[0].architecture, seed=0), plan)
    npas.save(model, tmp_path / "model.safetensors")
    sent = upload((tmp_path / "model.safetensors").read_bytes())
    assert submit(start={"checkpoint": sent["checkpoint"]})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "resnet-14"}, "the file has no 'stages.0.1.conv1.weight'"),
        ({"architecture": "wrn-10-1"}, "another network"),
    ],
)
def test_job_of_another_network_is_refused_before_it_is_queued(
    upload, client, asked, changes, words
):
    start = {"checkpoint": upload(save(network()))["checkpoint"]}
    answer = client.post("/v1/jobs", json=asked | {"start": start} | changes)
    assert (answer.status_code, num_jobs()) == (422, 0)
    assert answer.json()["code"] == "start_unusable"
    assert words in answer.json()["detail"]
    assert answer.json()["errors"][0]["pointer"] == "/start/checkpoint"


class Bomb:
    """Leaves a file where it is opened."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def test_pickles_are_never_opened(upload, tmp_path):
    mark = tmp_path / "executed"
    torch.save(Bomb(mark), tmp_path / "a.pt")
    for content in ((tmp_path / "a.pt").read_bytes(), pickle.dumps(Bomb(mark), protocol=4) * 2):
        sent = upload(content)
        assert (sent["state"], sent["reason"]["code"]) == ("invalid", "invalid_data")
        assert "torch.load(PATH, weights_only=True)" in sent["reason"]["message"]
    assert not mark.exists()


WHOLE = save({"a": torch.zeros(4), "b": torch.zeros(4)})
HOSTILE = {
    "truncated": (WHOLE[:-4], "truncated"),
    "huge header": ((2**40).to_bytes(8, "little") + b"{}", "are read"),
    "overlapping": (headed({"a": F32, "b": F32}), "overlaps"),
    "wrong dtype": (headed({"a": F32 | {"dtype": "F8_E4M3"}}), "allowed are"),
    "complex": (headed({"a": F32 | {"dtype": "C64", "shape": [1]}}), "allowed are"),
    "nan": (save({"a": torch.tensor([1.0, float("nan")])}), "tensor 'a' holds infinite numbers"),
    "infinite": (save({"b": torch.tensor([float("inf")]).bfloat16()}), "tensor 'b'"),
    "half": (save({"c": torch.tensor([float("-inf")]).half()}), "tensor 'c'"),
    "no tensors": (headed({}, b""), "0 tensors"),
    "text": (b"hello, this is no file of weights", "are read"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_file_is_refused_with_a_reason_and_leaves_nothing(upload, client, asked, case):
    content, words = HOSTILE[case]
    sent = upload(content)
    assert (sent["state"], sent["checkpoint"]) == ("invalid", None)
    assert sent["reason"]["code"] == "invalid_data"
    assert words in sent["reason"]["message"]
    assert not uploads.folder_of(sent["id"]).exists()
    start = {"checkpoint": hashlib.sha256(content).hexdigest()}
    answer = client.post("/v1/jobs", json=asked | {"start": start})
    assert (answer.status_code, answer.json()["code"]) == (422, "start_unusable")


def test_large_file_is_refused_when_it_is_announced(store, client, in_environment):
    assert store.is_dir()
    asked = {"name": "trained", "format": "weights", "bytes": 2 * 1024 * 1024}
    with in_environment(NPAS_WEIGHTS_MEGABYTES="1"):
        answer = client.post("/v1/datasets", json=asked)
    assert (answer.status_code, answer.json()["code"]) == (413, "dataset_too_large")
    assert "NPAS_WEIGHTS_MEGABYTES" in answer.json()["detail"]


def test_weights_are_no_dataset_and_have_no_options(upload, client, asked):
    sent = upload(save(network()))
    answer = client.post("/v1/jobs", json=asked | {"dataset": f"uploaded:{sent['id']}"})
    assert (answer.status_code, answer.json()["code"]) == (422, "dataset_unusable")
    assert "start.checkpoint" in answer.json()["detail"]
    options = {"name": "a", "format": "weights", "bytes": 9, "options": {"channels": 1}}
    refused = client.post("/v1/datasets", json=options)
    assert refused.json()["errors"][0]["pointer"] == "/options"


def test_weights_stay_while_a_job_names_them_and_go_with_it(upload, submit, client, deliver):
    content = save(network())
    sent = upload(content)
    job = submit(start={"checkpoint": sent["checkpoint"]})
    assert client.delete(sent["urls"]["self"]).is_success
    assert blobs.path(sent["checkpoint"]).read_bytes() == content
    deliver()
    assert client.delete(job["urls"]["self"]).is_success
    assert not blobs.path(sent["checkpoint"]).exists()
    assert not garbage.collect([sent["checkpoint"]]).files


def test_deleted_or_damaged_weights_are_not_started_from(upload, client, asked):
    sent = upload(save(network()))
    start = {"checkpoint": sent["checkpoint"]}
    blobs.path(sent["checkpoint"]).write_bytes(b"other")
    damaged = client.post("/v1/jobs", json=asked | {"start": start})
    assert (damaged.status_code, damaged.json()["code"]) == (422, "start_unusable")
    assert client.delete(sent["urls"]["self"]).is_success
    gone = client.post("/v1/jobs", json=asked | {"start": start})
    assert "were sent and found in order" in gone.json()["detail"]


def test_weights_are_listed_where_they_are_asked_for_alone(upload, client):
    sent = upload(save(network()))

    def listed(query):
        return [row["id"] for row in client.get(f"/v1/datasets{query}").json()["uploaded"]]

    assert listed("") == listed("?name=trained") == listed("?format=npz") == []
    assert listed("?format=weights") == listed("?format=weights&name=trained") == [sent["id"]]
    assert listed("?format=weights&name=other") == []
    refused = client.get("/v1/datasets?format=pickle")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")


def together(*works):
    """Do some work at once; return what came of each."""
    with ThreadPoolExecutor(len(works)) as pool:
        return [each.result() for each in [pool.submit(work) for work in works]]


def test_same_weights_sent_twice_at_once_are_two_uploads_of_one_file(store, client, submit):
    assert store.is_dir()
    content = save(network())
    asked = {"name": "trained", "format": "weights", "bytes": len(content)}
    urls = [client.post("/v1/datasets", json=asked).json()["urls"] for _ in range(2)]
    together(*(partial(client.put, each["content"], content=content) for each in urls))
    assert sum(together(Checker().check_all, Checker().check_all)) == 2
    first, second = (client.get(each["self"]).json() for each in urls)
    assert (first["state"], second["state"]) == ("ready", "ready")
    assert first["checkpoint"] == second["checkpoint"] == hashlib.sha256(content).hexdigest()
    assert client.delete(first["urls"]["self"]).is_success
    assert submit(start={"checkpoint": second["checkpoint"]})
    assert client.delete(second["urls"]["self"]).is_success
    assert blobs.path(second["checkpoint"]).exists()  # the job names it


def test_two_clients_that_send_the_same_file_at_once_end_with_the_same_weights(
    store, url, tmp_path
):
    assert store.is_dir()
    path, checker, over = tmp_path / "trained.safetensors", Checker(), threading.Event()
    path.write_bytes(save(network()))

    def check():
        while not over.wait(0.05):
            checker.check_all()

    def send():
        with Client(url) as service:
            return service.upload_weights(path)

    thread = threading.Thread(target=check)
    thread.start()
    try:
        one, other = together(send, send)
    finally:
        over.set()
        thread.join()
    assert (one.state, other.state) == ("ready", "ready")
    assert one.checkpoint == other.checkpoint == one.upload_sha256
    with Client(url) as service:
        assert {each.id for each in service.datasets(format="weights")} == {one.id, other.id}
        assert [*service.datasets()] == []
