"""DELETE /v1/jobs/{id}."""

import pytest
from npas_store import artifacts, blobs
from npas_store.database import transaction


@pytest.fixture
def delivered(store, submit, deliver, tmp_path):
    """A job that ended, and delivered a file of 8 bytes."""
    assert store.is_dir()
    submit()
    job_id = deliver(accuracy=0.5)
    (tmp_path / "model").write_text("8 bytes!")
    with transaction() as session:
        artifacts.record(session, job_id, "model.safetensors", blobs.put(tmp_path / "model"))
    return job_id


def test_delete_frees_the_files_and_says_how_much(client, delivered):
    model = f"/v1/jobs/{delivered}/artifacts/model.safetensors"
    assert client.get(model).text == "8 bytes!"
    answer = client.delete(f"/v1/jobs/{delivered}")
    assert (answer.status_code, answer.json()) == (
        200,
        {"id": delivered, "freed": {"files": 1, "bytes": 8}},
    )
    for url in (model, f"/v1/jobs/{delivered}", f"/v1/jobs/{delivered}/events"):
        assert client.get(url).json()["code"] == "job_not_found"
    assert client.get("/v1/jobs").json()["data"] == []
    assert client.get("/v1/results").json()["data"] == []


def test_delete_of_what_is_not_there_is_told(client, delivered):
    client.delete(f"/v1/jobs/{delivered}")
    for job_id in (delivered, "job_" + "0" * 32, "elsewhere"):
        answer = client.delete(f"/v1/jobs/{job_id}")
        assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


def test_delete_of_a_job_that_goes_on_says_what_to_do(client, submit, claim):
    job_id = submit()["id"]
    claim()
    answer = client.delete(f"/v1/jobs/{job_id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "job_not_ended")
    assert (
        f"is running and cannot be deleted yet; end it with POST /v1/jobs/{job_id}/cancel"
        in (answer.json()["detail"])
    )
    assert client.get(f"/v1/jobs/{job_id}").json()["state"] == "running"


def test_key_of_a_deleted_job_makes_a_new_one(client, store, asked):
    assert store.is_dir()
    key = {"Idempotency-Key": "once"}
    first = client.post("/v1/jobs", json=asked, headers=key).json()["id"]
    client.post(f"/v1/jobs/{first}/cancel")
    assert client.delete(f"/v1/jobs/{first}").status_code == 200
    again = client.post("/v1/jobs", json=asked, headers=key)
    assert again.status_code == 202
    assert again.json()["id"] != first
    assert "Idempotency-Replayed" not in again.headers
