"""Exports over HTTP: asked for once, made in a process with limits, kept as artifacts."""

import dataclasses
import json
import threading
from pathlib import Path

import httpx
import npas
import pytest
import torch
from npas import registry
from npas_api import planner_process, planner_refusals
from npas_api.errors import PackageMissingError
from npas_client.client import Client
from npas_client.errors import ConflictError, InvalidRequestError
from npas_local import exporting
from npas_local.exporting import Exporter
from npas_store import blobs, exports, lineage, plans
from npas_store.database import reading, transaction
from npas_store.export_tables import Export
from npas_store.settings import settings
from npas_store.tables import Job
from npas_store.transitions import reason
from sqlalchemy import delete, select, text, update


@pytest.fixture
def job_id(submit, deliver_network):
    """A job that has delivered a network."""
    submit()
    return deliver_network()[0]


def made(job_id):
    """Return the rows of a job's exports, without their details."""
    with reading() as session:
        return [(row.state, row.artifact) for row in exports.exports_of(session, job_id)]


def artifacts_of(client, job_id):
    rows = client.get(f"/v1/jobs/{job_id}/artifacts").json()["data"]
    return {row["name"]: row for row in rows}


def test_an_export_becomes_an_artifact(client, job_id, tmp_path):
    answer = client.post(f"/v1/jobs/{job_id}/exports", json={"to": "torch.export"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["state"] == "queued"
    again = client.post(f"/v1/jobs/{job_id}/exports", json={"to": "torch.export", "guard": False})
    assert (again.status_code, again.json()["id"]) == (200, answer.json()["id"])
    assert Exporter().make_all() == 1
    found = client.get(answer.headers["location"]).json()
    assert found["state"] == "succeeded", found
    assert found["artifact"] == "model.pt2"
    row = artifacts_of(client, job_id)["model.pt2"]
    assert (row["kind"], row["bytes"]) == ("export", found["facts"]["file_bytes"])
    (tmp_path / "model.pt2").write_bytes(client.get(row["url"]).content)
    module = torch.export.load(tmp_path / "model.pt2").module()
    (tmp_path / "net").write_bytes(
        client.get(f"/v1/jobs/{job_id}/artifacts/model.safetensors").content
    )
    net = npas.load(tmp_path / "net")
    x = npas.arch.example_input(net.plan.networks[0].architecture, num_examples=3)
    torch.testing.assert_close(module(x), net(x))
    assert not list(settings().jobs.glob("*/export-*"))
    assert Exporter().make_all() == 0


def test_a_job_that_is_deleted_takes_its_exports_along(client, job_id):
    client.post(f"/v1/jobs/{job_id}/exports", json={"to": "safetensors"})
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 200
    assert Exporter().make_all() == 0
    with reading() as session:
        assert session.scalars(select(Export)).all() == []
    assert client.get(f"/v1/jobs/{job_id}/exports").status_code == 404


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"to": "onnxx"}, "unknown_name", "/to"),
        ({"to": "safetensors", "guard": True}, "invalid_spec", "/guard"),
        ({"to": "torch.export", "opset": 20}, "invalid_spec", "/opset"),
        ({"to": "onnx", "network": "other"}, "unknown_name", "/network"),
    ],
)
def test_what_cannot_be_made_is_refused_at_once(client, job_id, body, code, pointer):
    answer = client.post(f"/v1/jobs/{job_id}/exports", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]
    assert made(job_id) == []


def test_service_without_the_package_of_a_format_says_so(job_id, monkeypatch):
    with reading() as session:
        plan = plans.versions(session, job_id)[-1].document
    asked = {"question": "export", "folder": None}
    asked["request"] = json.dumps({"spec": {"to": "onnx"}, "plan": plan})
    monkeypatch.setattr(registry, "is_installed", lambda _: False)
    refused = planner_refusals.refusal(planner_process.answer(asked), None)
    assert isinstance(refused, PackageMissingError)
    assert "pip install 'npas[onnx]'" in str(refused)


def test_network_that_is_lost_is_told_of_at_once(client, job_id):
    with reading() as session:
        found = lineage.delivered_network(session, job_id)
    blobs.path(found.sha256).unlink()
    answer = client.post(f"/v1/jobs/{job_id}/exports", json={})
    assert (answer.status_code, answer.json()["code"]) == (410, "artifact_gone")
    assert made(job_id) == []


def test_format_has_one_name(client, job_id):
    address = f"/v1/jobs/{job_id}/exports"
    first, *more = (
        client.post(address, json={"to": name})
        for name in ("torch_export", "torch.export", "torch-export")
    )
    assert (first.status_code, first.json()["spec"]["to"]) == (202, "torch.export")
    for again in more:
        assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert len(made(job_id)) == 1


@pytest.mark.parametrize(
    ("method", "to", "keeps"),
    [
        ("superweights", "onnx", True),
        ("random", "onnx", False),
        ("superweights", "safetensors", False),
    ],
)
def test_answer_says_before_whether_sharing_is_kept(
    client, submit, deliver_network, method, to, keeps
):
    submit(method={"name": method})
    job_id, _ = deliver_network()
    answer = client.post(f"/v1/jobs/{job_id}/exports", json={"to": to})
    assert answer.status_code == 202, answer.text
    assert answer.json()["facts"] == {"keeps_sharing": keeps}


def lose(path):
    path.unlink()


def damage(path):
    path.chmod(0o644)
    path.write_bytes(b"x" * path.stat().st_size)


@pytest.mark.parametrize("lost", [lose, damage])
def test_export_whose_bytes_are_lost_is_made_anew(client, job_id, lost):
    address = f"/v1/jobs/{job_id}/exports"
    first = client.post(address, json={"to": "safetensors"}).json()
    assert Exporter().make_all() == 1
    row = artifacts_of(client, job_id)["weights.safetensors"]
    assert client.post(address, json={"to": "safetensors"}).status_code == 200
    lost(blobs.path(row["sha256"]))
    assert client.get(row["url"]).status_code == 410
    again = client.post(address, json={"to": "safetensors"})
    assert (again.status_code, again.json()["id"]) == (202, first["id"])
    assert (again.json()["state"], again.json()["artifact"]) == ("queued", None)
    assert Exporter().make_all() == 1
    assert client.get(row["url"]).status_code == 200
    assert client.post(address, json={"to": "safetensors"}).status_code == 200


def test_room_that_is_to_be_left_on_the_disk_is_left(client, job_id, in_environment):
    client.post(f"/v1/jobs/{job_id}/exports", json={"to": "safetensors"})
    with in_environment(NPAS_FREE_MEGABYTES="1000000000"):
        assert Exporter().make_all() == 1
    (found,) = client.get(f"/v1/jobs/{job_id}/exports").json()["data"]
    assert (found["state"], found["reason"]["code"]) == ("queued", "disk_full")
    assert "NPAS_FREE_MEGABYTES" in found["reason"]["message"]
    assert not list(settings().jobs.glob("*/export-*"))
    with transaction() as session:
        session.execute(update(Export).values(lease_until=None))  # its pause is over
    assert Exporter().make_all() == 1
    assert made(job_id) == [("succeeded", "weights.safetensors")]


@pytest.mark.parametrize(
    ("limit", "value"), [("NPAS_EXPORT_MEGABYTES", "256"), ("NPAS_EXPORT_SECONDS", "1")]
)
def test_limits_hold(client, submit, deliver_network, in_environment, limit, value):
    submit(architecture={"name": "wrn-22-8"})  # 50 MB, and several copies
    job_id, _ = deliver_network()
    body = {"to": "torch.export"}
    client.post(f"/v1/jobs/{job_id}/exports", json=body)
    with in_environment(**{limit: value}):
        Exporter().make_all()
    with reading() as session:
        (row,) = exports.exports_of(session, job_id)
        assert (row.state, row.reason["code"]) == ("failed", "export_too_large")
        assert limit in row.reason["hint"]
    assert client.post(f"/v1/jobs/{job_id}/exports", json=body).status_code == 202
    assert made(job_id) == [("queued", None)]


def test_least_memory_that_may_be_set_is_enough_for_a_small_network(
    client, job_id, in_environment
):
    client.post(f"/v1/jobs/{job_id}/exports", json={"to": "onnx"})
    with in_environment(NPAS_EXPORT_MEGABYTES="256"):
        Exporter().make_all()
    assert made(job_id) == [("succeeded", "model.onnx")]


def test_one_that_is_stopped_or_lost_is_made_by_the_next(client, job_id):
    client.post(f"/v1/jobs/{job_id}/exports", json={"to": "safetensors"})
    stopped = Exporter()
    thread = threading.Thread(target=stopped.make_all)
    thread.start()
    stopped.stop()
    thread.join()
    with transaction() as session:  # one that was killed left its lease and its folder
        session.execute(update(Export).values(state="running", number=1, lease_until=None))
    left = settings().jobs / job_id / f"export-{_id(job_id)}-1"
    left.mkdir(parents=True)
    Path(left, "product").write_text("half of a file")
    assert Exporter().make_all() == 1
    assert made(job_id) == [("succeeded", "weights.safetensors")]
    assert not left.exists()


def _id(job_id):
    with reading() as session:
        return exports.exports_of(session, job_id)[0].id


def test_tries_that_are_lost_again_and_again_end(client, job_id):
    client.post(f"/v1/jobs/{job_id}/exports", json={"to": "safetensors"})
    with transaction() as session:
        session.execute(update(Export).values(attempts=settings().max_attempts))
    assert Exporter().make_all() == 0
    (found,) = client.get(f"/v1/jobs/{job_id}/exports").json()["data"]
    assert (found["state"], found["reason"]["code"]) == ("failed", "export_lost")


def test_a_try_that_no_longer_counts_changes_nothing(client, job_id):
    client.post(f"/v1/jobs/{job_id}/exports", json={"to": "safetensors"})
    with transaction() as session:
        making = exports.take_export(session)
        assert making is not None
        session.execute(update(Export).values(number=7))
    with transaction() as session:
        assert not exports.renew_export(session, making)
        assert not exports.lose_export(session, making, "late")
        assert not exports.give_export_back(session, making)
    assert made(job_id) == [("running", None)]


def test_requests_that_do_not_fit_are_problems(client, submit, job_id):
    address = f"/v1/jobs/{job_id}/exports"
    for body, status in (
        ({"to": "onnx", "opset": 3}, 422),
        ({"format": "onnx"}, 422),
        ([], 422),
    ):
        answer = client.post(address, json=body)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    queued = submit()["id"]
    assert client.post(f"/v1/jobs/{queued}/exports", json={}).status_code == 409
    assert client.get(f"{address}/exp_nothing").status_code == 404
    assert client.post(f"/v1/jobs/job_{'0' * 32}/exports", json={}).status_code == 404


def test_the_client_waits_for_it(url, job_id, submit, tmp_path):
    exporter, over = Exporter(), threading.Event()

    def work():
        while not over.wait(0.05):
            exporter.make_all()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        with Client(url) as service:
            found = service.export(job_id, "safetensors", timeout=120)
            assert found.artifact == "weights.safetensors"
            service.download(job_id, found.artifact, tmp_path / "weights.safetensors")
            assert [each.id for each in service.exports(job_id)] == [found.id]
            with pytest.raises(InvalidRequestError, match="opset means nothing"):
                service.export(job_id, "safetensors", opset=20)
            with pytest.raises(ConflictError):
                service.export(submit()["id"])
    finally:
        over.set()
        thread.join()


def test_export_of_a_job_that_is_deleted_meanwhile_is_not_found(url, job_id):
    answers = []

    def ask():
        answers.append(httpx.post(f"{url}/v1/jobs/{job_id}/exports", json={}, timeout=60))

    thread = threading.Thread(target=ask)
    with transaction() as session:
        session.execute(delete(Job).where(Job.id == job_id))
        thread.start()
        _until_somebody_waits()
    thread.join()
    assert (answers[0].status_code, answers[0].json()["code"]) == (404, "job_not_found")


def _until_somebody_waits():
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    while True:
        with reading() as session:
            if session.scalar(waiting):
                return


def test_one_that_waits_for_room_says_so(client, job_id):
    client.post(f"/v1/jobs/{job_id}/exports", json={"to": "safetensors"})
    with transaction() as session:
        making = exports.take_export(session)
        assert making is not None
        assert exports.give_export_back(session, making, reason("disk_full", "no room"), 30.0)
    (found,) = client.get(f"/v1/jobs/{job_id}/exports").json()["data"]
    assert (found["state"], found["reason"]["code"]) == ("queued", "disk_full")
    assert Exporter().make_all() == 0


def test_reasons_do_not_say_where_files_lie_on_the_server(client, job_id):
    def reason_of(job_id):
        Exporter().make_all()
        with reading() as session:
            return exports.exports_of(session, job_id)[0].reason

    client.post(f"/v1/jobs/{job_id}/exports", json={"to": "safetensors"})
    with reading() as session:
        path = blobs.path(lineage.delivered_network(session, job_id).sha256)
    place = settings().jobs / job_id
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("a file where a folder is to be")
    found = reason_of(job_id)
    assert (found["code"], str(settings().home) in found["message"]) == ("export_lost", False)
    assert "Not a directory: 'export-exp_" in found["message"]
    place.unlink()
    damage(path)
    with transaction() as session:
        session.execute(update(Export).values(lease_until=None))  # its pause is over
    found = reason_of(job_id)
    assert found["code"] == "invalid_checkpoint"
    assert found["message"].startswith("model.safetensors is not a readable checkpoint")


def test_late_try_leaves_the_folder_of_the_next_one_alone(client, job_id):
    client.post(f"/v1/jobs/{job_id}/exports", json={"to": "safetensors"})
    with transaction() as session:
        late = exports.take_export(session)
        assert late is not None
    with exporting._place(late):
        following = exporting._place(dataclasses.replace(late, number=late.number + 1))
        folder = following.__enter__()
    assert folder.is_dir()
    following.__exit__(None, None, None)
    assert not folder.exists()
