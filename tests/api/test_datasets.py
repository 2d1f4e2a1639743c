"""Datasets that users send: announced, listed, looked at, named in jobs, deleted."""

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from npas_local.checking import Checker
from npas_store import blobs, claims, datasets, uploads
from npas_store.database import transaction
from npas_store.tables import Artifact, Job

LABELS = {"team": "vision"}


def arrays(seed=0, classes=4, size=8):
    """Four arrays as an .npz file."""
    rng = np.random.default_rng(seed)
    file = io.BytesIO()
    np.savez(
        file,
        x_train=rng.integers(0, 256, (40, size, size, 3), np.uint8),
        y_train=np.arange(40) % classes,
        x_test=rng.integers(0, 256, (20, size, size, 3), np.uint8),
        y_test=np.arange(20) % classes,
    )
    return file.getvalue()


@pytest.fixture
def announce(store, client):
    """Announce a dataset of these bytes; keyword arguments replace parts of the request."""
    assert store.is_dir()

    def post(content=b"x" * 100, key=None, **changes):
        asked = {"name": "mine", "format": "npz", "bytes": len(content), "labels": LABELS}
        headers = {"Idempotency-Key": key} if key else {}
        return client.post("/v1/datasets", json={**asked, **changes}, headers=headers)

    return post


@pytest.fixture
def upload(announce, client):
    """Send a dataset and have it checked; return it as it is then."""

    def send(content, **changes):
        answer = announce(content, **changes)
        assert answer.status_code == 201, answer.text
        urls = answer.json()["urls"]
        assert client.put(urls["content"], content=content).is_success
        assert Checker().check_all() == 1
        return client.get(urls["self"]).json()

    return send


@pytest.fixture(scope="module")
def content():
    """A small dataset."""
    return arrays()


def test_an_announced_dataset_tells_where_to_send_it(announce, client):
    answer = announce(options={"channels": 3})
    dataset = answer.json()
    assert answer.headers["Location"] == dataset["urls"]["self"]
    assert (dataset["name"], dataset["labels"], dataset["state"]) == ("mine", LABELS, "uploading")
    assert dataset["dataset"] == f"uploaded:{dataset['id']}"
    assert dataset["options"] == {"channels": 3}
    assert client.get(dataset["urls"]["self"]).json() == dataset


BAD = {
    "/name": [{"name": ""}, {"name": "x" * 101}, {"name": "../up"}, {"name": "a/b"}, {"name": 3}],
    "/format": [{"format": "pickle"}, {"format": None}],
    "/bytes": [{"bytes": 0}, {"bytes": -1}, {"bytes": 1.5}, {"bytes": 2**60}, {"bytes": "9"}],
    "/sha256": [{"sha256": "00"}, {"sha256": "Z" * 64}],
    "/labels": [{"labels": {"a b": "x"}}, {"labels": {"a": "x" * 1000}}],
    "/options": [{"options": []}, {"options": {"image_size": 0}}, {"options": {"size": 3}}],
    "/other": [{"other": 1}],
}


@pytest.mark.parametrize(("pointer", "changes"), [(p, c) for p in BAD for c in BAD[p]])
def test_bad_announcements_name_the_field(announce, pointer, changes):
    refused = announce(**changes)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"].startswith(pointer)


def test_a_dataset_that_is_too_large_is_refused(announce, in_environment):
    with in_environment(NPAS_DATASET_MEGABYTES="1"):
        refused = announce(bytes=2**20 + 1)
        taken = announce(bytes=2**20)
    assert (refused.status_code, refused.json()["code"]) == (413, "dataset_too_large")
    assert "1,048,576" in refused.json()["detail"]
    assert taken.status_code == 201


def test_only_so_many_uploads_may_be_unfinished(announce, client, in_environment):
    with in_environment(NPAS_MAX_UPLOADS="2"):
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: announce(), range(6)))
        found = sorted(answer.status_code for answer in answers)
        assert found == [201, 201, 429, 429, 429, 429]
        made = next(answer.json() for answer in answers if answer.status_code == 201)
        client.delete(made["urls"]["self"])
        assert announce().status_code == 201


def test_a_disk_without_room_is_told_before_anything_is_sent(announce, in_environment):
    free = uploads.spare_bytes() // uploads.MEGABYTE
    with in_environment(NPAS_FREE_MEGABYTES=str(free + 10_000)):
        refused = announce()
    assert (refused.status_code, refused.json()["code"]) == (507, "insufficient_storage")


def test_what_others_are_going_to_send_has_its_room(announce, in_environment):
    half = (uploads.spare_bytes() // 2 // uploads.MEGABYTE + 100) * uploads.MEGABYTE
    with in_environment(NPAS_DATASET_MEGABYTES=str(10**9)):
        assert announce(bytes=half).status_code == 201
        assert announce(bytes=half).status_code == 507


def test_the_same_key_makes_one_dataset(announce):
    first, again = announce(key="k"), announce(key="k")
    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    other = announce(key="k", name="other")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_the_list_shows_what_users_sent_beside_what_is_here(announce, client):
    made = [announce(name=name).json() for name in ("one", "two", "two")]
    whole = client.get("/v1/datasets").json()
    assert {"digits", "cifar10"} <= {row["name"] for row in whole["data"]}
    assert whole["uploaded"] == made[::-1]
    assert not whole["has_more"]


def test_the_list_is_read_in_pages_and_filtered(announce, client):
    made = [announce(name=name).json()["id"] for name in ("one", "two", "two")]

    def ids(**query):
        answer = client.get("/v1/datasets", params=query).json()
        assert answer["data"] == []
        return [row["id"] for row in answer["uploaded"]]

    first = client.get("/v1/datasets", params={"limit": 2})
    assert first.json()["has_more"]
    following = client.get(first.links["next"]["url"]).json()
    found = first.json()["uploaded"] + following["uploaded"]
    assert [row["id"] for row in found] == made[::-1]
    assert ids(name="two") == [made[2], made[1]]
    assert ids(state="ready") == []
    assert ids(state=["ready", "uploading"]) == made[::-1]
    assert ids(**{"label[team]": "vision"}) == made[::-1]
    assert ids(**{"label[team]": "other"}) == []


@pytest.mark.parametrize("query", ["after=x", "limit=0", "state=odd", "color=red", "name=%2F"])
def test_bad_queries_name_the_parameter(client, query):
    refused = client.get(f"/v1/datasets?{query}")
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/" + query.partition("=")[0]


@pytest.mark.parametrize("name", ["ds_1", "ds_" + "0" * 32, "digits", "..%2F..%2Fid"])
def test_there_is_no_such_dataset(client, store, name):
    assert store.is_dir()
    for method, part in (
        *(("GET", ""), ("DELETE", ""), ("GET", "/thumbnails")),
        *(("HEAD", "/content"), ("PUT", "/content")),
    ):
        assert client.request(method, f"/v1/datasets/{name}{part}").status_code == 404


def test_a_dataset_becomes_ready_and_can_be_looked_at(upload, content, client):
    dataset = upload(content, sha256=hashlib.sha256(content).hexdigest())
    assert (dataset["state"], dataset["reason"]) == ("ready", None)
    assert dataset["facts"]["num_classes"] == 4
    assert dataset["report"]["counts"]
    picture = client.get(dataset["urls"]["thumbnails"])
    assert picture.headers["Content-Type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")
    tag = {"If-None-Match": picture.headers["ETag"]}
    assert client.get(dataset["urls"]["thumbnails"], headers=tag).status_code == 304
    assert not uploads.folder_of(dataset["id"]).exists()


def test_a_dataset_without_a_picture_says_why(announce, client):
    dataset = announce().json()
    refused = client.get(dataset["urls"]["thumbnails"])
    assert (refused.status_code, refused.json()["code"]) == (404, "thumbnails_not_found")


def test_a_wrong_checksum_is_refused(upload, content):
    dataset = upload(content, sha256="0" * 64)
    assert dataset["state"] == "invalid"
    assert dataset["reason"]["code"] == "invalid_data"
    assert dataset["reason"]["field"] == "/sha256"
    assert hashlib.sha256(content).hexdigest() in dataset["reason"]["message"]


def test_a_job_reads_a_dataset_and_records_its_hash(upload, content, client, asked):
    dataset = upload(content)
    request = {**asked, "dataset": dataset["dataset"]}
    plan = client.post("/v1/plans", json=request)
    assert plan.json()["networks"][0]["architecture"]["num_classes"] == 4
    answer = client.post("/v1/jobs", json=request)
    assert answer.status_code == 202, answer.text
    assert answer.json()["dataset"] == dataset["dataset"]
    with transaction() as session:
        assert session.get(Job, answer.json()["id"]).dataset_sha256 == dataset["content_sha256"]


def test_a_dataset_that_is_not_ready_is_refused_by_name(announce, client, asked):
    dataset = announce().json()
    for path in ("/v1/plans", "/v1/jobs"):
        refused = client.post(path, json={**asked, "dataset": dataset["dataset"]})
        assert (refused.status_code, refused.json()["code"]) == (422, "dataset_unusable")
        assert refused.json()["errors"][0]["pointer"] == "/dataset"
        assert "0 of its 100 bytes" in refused.json()["detail"]


@pytest.mark.parametrize("name", ["uploaded:ds_" + "0" * 32, "uploaded:mine", "uploaded:"])
def test_a_dataset_that_is_not_there_is_refused(client, store, asked, name):
    assert store.is_dir()
    refused = client.post("/v1/jobs", json={**asked, "dataset": name})
    assert (refused.status_code, refused.json()["code"]) == (422, "dataset_unusable")


@pytest.mark.parametrize("harm", ["damage", "delete"])
def test_a_damaged_dataset_is_refused(upload, client, asked, harm):
    dataset = upload(arrays(seed=7))
    path = blobs.path(dataset["content_sha256"])
    path.chmod(0o600)
    if harm == "damage":
        path.write_bytes(b"\0" * path.stat().st_size)
    else:
        path.unlink()
    refused = client.post("/v1/jobs", json={**asked, "dataset": dataset["dataset"]})
    assert (refused.status_code, refused.json()["code"]) == (422, "dataset_unusable")
    again = upload(arrays(seed=7))
    request = {**asked, "dataset": again["dataset"]}
    assert client.post("/v1/jobs", json=request).status_code == 202


def test_a_dataset_that_jobs_wait_for_is_not_deleted(upload, content, client, asked, claim):
    dataset = upload(content)
    job = client.post("/v1/jobs", json={**asked, "dataset": dataset["dataset"]}).json()
    refused = client.delete(dataset["urls"]["self"])
    assert (refused.status_code, refused.json()["code"]) == (409, "dataset_in_use")
    assert job["id"] in refused.json()["detail"]
    held = claim()
    with transaction() as session:
        claims.finish(session, held.id, held.claim_number, "failed", message="done")
    freed = client.delete(dataset["urls"]["self"])
    assert freed.status_code == 200
    assert freed.json()["freed_files"] == 2
    assert not blobs.path(dataset["content_sha256"]).exists()
    assert not datasets.file(dataset["id"]).exists()
    again = client.post("/v1/jobs", json={**asked, "dataset": dataset["dataset"]})
    assert again.json()["code"] == "dataset_unusable"


def test_a_job_is_not_queued_while_its_dataset_is_deleted(upload, client, asked):
    """Whoever comes first: there is never a job without its data."""
    for seed in range(3):
        dataset = upload(arrays(seed=100 + seed))
        request = {**asked, "dataset": dataset["dataset"]}
        with ThreadPoolExecutor(2) as pool:
            job = pool.submit(client.post, "/v1/jobs", json=request)
            deleted = pool.submit(client.delete, dataset["urls"]["self"])
        found = (job.result().status_code, deleted.result().status_code)
        assert found in ((202, 409), (422, 200))


def test_the_same_arrays_are_stored_once_and_stay_while_one_names_them(upload, content, client):
    one, two = upload(content), upload(content, name="other")
    assert one["id"] != two["id"]
    assert one["content_sha256"] == two["content_sha256"]
    path = blobs.path(one["content_sha256"])
    assert path.stat().st_nlink == 3
    assert client.delete(one["urls"]["self"]).json()["freed_bytes"] == 0
    assert path.is_file()
    assert client.delete(two["urls"]["self"]).json()["freed_bytes"] > two["content_bytes"]
    assert not path.exists()


def test_bytes_that_an_artifact_names_too_stay(upload, content, client, submit):
    dataset = upload(content)
    job = submit()
    with transaction() as session:
        blob = blobs.Blob(sha256=dataset["content_sha256"], bytes=dataset["content_bytes"])
        session.add(
            Artifact(
                job_id=job["id"],
                name="data.npz",
                kind="file",
                media_type="application/octet-stream",
                **{"bytes": blob.bytes, "sha256": blob.sha256},
            )
        )
    client.delete(dataset["urls"]["self"])
    assert blobs.state(blob) == "stored"
