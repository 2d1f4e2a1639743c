"""Artifacts: whole, in part, or not again; and never anything else from the disk."""

import base64
import hashlib
import os

import pytest
from npas_store import artifacts, blobs
from npas_store.database import transaction

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "model.safetensors"


@pytest.fixture
def job_id(submit, tmp_path):
    """A job with one artifact."""
    job_id = submit()["id"]
    (tmp_path / NAME).write_bytes(CONTENT)
    with transaction() as session:
        artifacts.record(session, job_id, NAME, blobs.put(tmp_path / NAME))
    return job_id


@pytest.fixture
def address(job_id):
    return f"/v1/jobs/{job_id}/artifacts/{NAME}"


def test_list_tells_what_there_is(client, job_id, address):
    (row,) = client.get(f"/v1/jobs/{job_id}/artifacts").json()["data"]
    assert (row["name"], row["bytes"], row["sha256"]) == (NAME, len(CONTENT), SHA256)
    assert (row["kind"], row["media_type"]) == ("model", "application/octet-stream")
    assert row["url"] == address


def test_download_can_be_checked(client, address):
    answer = client.get(address)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["etag"] == f'"sha256:{SHA256}"'
    digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    assert answer.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"] == f'attachment; filename="{NAME}"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-length"] == str(len(CONTENT))


def test_head_tells_the_size_without_the_bytes(client, address):
    answer = client.head(address)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["etag"] == f'"sha256:{SHA256}"'


@pytest.mark.parametrize(
    ("wanted", "part", "content_range"),
    [
        ("bytes=0-0", slice(0, 1), "bytes 0-0/256000"),
        ("bytes=1000-1999", slice(1000, 2000), "bytes 1000-1999/256000"),
        ("bytes=255999-", slice(255999, None), "bytes 255999-255999/256000"),
        ("bytes=-10", slice(-10, None), "bytes 255990-255999/256000"),
        ("bytes=200000-999999999", slice(200000, None), "bytes 200000-255999/256000"),
    ],
)
def test_download_in_part(client, address, wanted, part, content_range):
    answer = client.get(address, headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (206, CONTENT[part])
    assert answer.headers["content-range"] == content_range


def test_download_of_several_parts_holds_each(client, address):
    answer = client.get(address, headers={"Range": "bytes=0-9,1000-1009"})
    assert answer.status_code == 206
    assert answer.headers["content-type"].startswith("multipart/byteranges")
    assert CONTENT[:10] in answer.content
    assert CONTENT[1000:1010] in answer.content


def test_an_interrupted_download_goes_on_only_with_the_same_file(client, address):
    same = {"Range": "bytes=1000-", "If-Range": f'"sha256:{SHA256}"'}
    other = {"Range": "bytes=1000-", "If-Range": f'"sha256:{"0" * 64}"'}
    assert client.get(address, headers=same).content == CONTENT[1000:]
    whole = client.get(address, headers=other)
    assert (whole.status_code, whole.content) == (200, CONTENT)


@pytest.mark.parametrize("wanted", ["bytes=256000-", "bytes=999999-1000000"])
def test_a_range_outside_the_file_is_416(client, address, wanted):
    answer = client.get(address, headers={"Range": wanted})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == "bytes */256000"
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["errors"][0]["pointer"] == "/range"


@pytest.mark.parametrize("wanted", ["lines=1-2", "bytes", "bytes=", "bytes=x-y", "bytes=5-2"])
def test_a_range_that_makes_no_sense_is_400(client, address, wanted):
    answer = client.get(address, headers={"Range": wanted})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_range")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "tags", [f'"sha256:{SHA256}"', f'W/"sha256:{SHA256}"', f'"other", "sha256:{SHA256}"', "*"]
)
def test_a_file_that_the_client_has_is_304(client, address, tags):
    answer = client.get(address, headers={"If-None-Match": tags})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == f'"sha256:{SHA256}"'


@pytest.mark.parametrize("tags", ['"sha256:0"', SHA256, "", '"'])
def test_a_file_that_the_client_has_not_is_sent(client, address, tags):
    assert client.get(address, headers={"If-None-Match": tags}).status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "plan.json",
        "%2e%2e",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2fetc%2fpasswd",
        "....//etc/passwd",
        "model.safetensors%00",
        "model.safetensors%00.json",
        "%ff",
        "MODEL.SAFETENSORS",
        SHA256,
        "x" * 5000,
        "..%5c..%5cboot.ini",
    ],
)
def test_nothing_but_a_jobs_own_artifacts_is_sent(client, job_id, name):
    answer = client.get(f"/v1/jobs/{job_id}/artifacts/{name}")
    assert answer.status_code == 404
    assert answer.json()["code"] in ("artifact_not_found", "job_not_found", "not_found")
    assert b"root:" not in answer.content


def test_an_artifact_of_another_job_is_not_this_jobs(submit, client, job_id):
    other = submit(seed=1)["id"]
    assert client.get(f"/v1/jobs/{other}/artifacts/{NAME}").status_code == 404
    assert client.get(f"/v1/jobs/{job_id}/artifacts/{NAME}").status_code == 200


def test_an_artifact_whose_bytes_are_gone_says_so(client, address):
    path = blobs.path(SHA256)
    hidden = path.with_name("hidden")
    path.rename(hidden)
    try:
        answer = client.get(address)
    finally:
        hidden.rename(path)
    assert (answer.status_code, answer.json()["code"]) == (410, "artifact_gone")
    assert "the same request under a new Idempotency-Key makes it again" in answer.json()["detail"]


def flip(path):
    """Change one bit, as a failing disk does: size and times stay."""
    before = path.stat()
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def cut(path):
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [flip, cut])
@pytest.mark.parametrize("wanted", [{}, {"Range": "bytes=0-9"}])
def test_damaged_bytes_are_never_sent(client, job_id, address, damage, wanted, tmp_path):
    assert client.get(address, headers=wanted).status_code in (200, 206)
    damage(blobs.path(SHA256))
    answer = client.get(address, headers=wanted)
    assert (answer.status_code, answer.json()["code"]) == (410, "artifact_damaged")
    assert answer.headers["content-type"] == "application/problem+json"
    assert client.head(address).status_code == 410
    (row,) = client.get(f"/v1/jobs/{job_id}/artifacts").json()["data"]
    assert row["state"] == "damaged"
    blobs.put(tmp_path / NAME)  # as a job with the same outcome does
    assert client.get(address).content == CONTENT


def test_list_tells_which_artifacts_are_missing(client, job_id, tmp_path):
    listing = f"/v1/jobs/{job_id}/artifacts"
    assert [row["state"] for row in client.get(listing).json()["data"]] == ["stored"]
    blobs.path(SHA256).unlink()
    assert [row["state"] for row in client.get(listing).json()["data"]] == ["missing"]
    blobs.put(tmp_path / NAME)
    assert [row["state"] for row in client.get(listing).json()["data"]] == ["stored"]
