"""Bytes of a dataset arrive in parts, broken off, out of order, twice at once, and too many."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from npas_api import receiving
from npas_store import datasets, uploads
from npas_store.database import transaction
from npas_store.uploads import MEGABYTE

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def declared(store, client):
    """Announce a dataset of CONTENT; keyword arguments replace parts of the request."""
    assert store.is_dir()

    def declare(**changes):
        asked = {"name": "mine", "format": "npz", "bytes": len(CONTENT), **changes}
        answer = client.post("/v1/datasets", json=asked)
        assert answer.status_code == 201, answer.text
        return answer.json()

    return declare


@pytest.fixture
def send(client):
    """Send the bytes from `start` to before `end` as a part."""

    def put(dataset, start, end, content=CONTENT, method="PUT"):
        headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(CONTENT)}"}
        url = dataset["urls"]["content"]
        return client.request(method, url, content=content[start:end], headers=headers)

    return put


def received(client, dataset):
    answer = client.head(dataset["urls"]["content"])
    assert answer.status_code == 204
    assert answer.headers["Upload-Length"] == str(dataset["upload_bytes"])
    return int(answer.headers["Upload-Offset"])


def stored(dataset):
    return uploads.content(dataset["id"]).read_bytes()


def test_a_whole_body_ends_the_upload(client, declared):
    dataset = declared()
    answer = client.put(dataset["urls"]["content"], content=CONTENT)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["state"], answer.json()["received_bytes"]) == ("processing", 10240)
    assert answer.json()["received_at"]
    assert stored(dataset) == CONTENT


def test_parts_are_joined_in_order(client, declared, send):
    dataset = declared()
    first, second = send(dataset, 0, 4000), send(dataset, 4000, 9000, method="PATCH")
    assert (first.headers["Upload-Offset"], second.headers["Upload-Offset"]) == ("4000", "9000")
    assert first.json()["state"] == second.json()["state"] == "uploading"
    assert received(client, dataset) == 9000
    assert client.get(dataset["urls"]["content"]).headers["Upload-Offset"] == "9000"
    assert send(dataset, 9000, len(CONTENT)).json()["state"] == "processing"
    assert stored(dataset) == CONTENT


@pytest.mark.parametrize("start", [0, 3999, 4001])
def test_a_part_that_does_not_begin_where_the_last_ended_is_told_where(
    declared, send, start, client
):
    dataset = declared()
    send(dataset, 0, 4000)
    refused = send(dataset, start, 6000)
    assert refused.status_code == 409
    assert refused.json()["code"] == "upload_offset"
    assert refused.headers["Upload-Offset"] == "4000"
    assert refused.json()["received_bytes"] == 4000
    assert received(client, dataset) == 4000


@pytest.mark.parametrize(
    "given",
    [
        *(
            "bytes 0-9/11",
            "bytes 5-4/10240",
            "bytes 0-10240/10240",
            "bytes */10240",
            "bytes 0-9/*",
        ),
        *(
            "bytes 0-9/*",
            "items 0-9/10240",
            "bytes=0-9",
            "",
            "bytes -1-9/10240",
            f"bytes 0-{'9' * 30}/10240",
        ),
    ],
)
def test_a_range_that_is_none_is_refused(client, declared, given):
    dataset = declared()
    headers = {"Content-Range": given}
    refused = client.put(dataset["urls"]["content"], content=b"x" * 10, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_content_range")
    assert refused.json()["errors"][0]["pointer"] == "/content-range"
    assert received(client, dataset) == 0


def test_a_body_longer_than_its_range_is_not_trusted(client, declared):
    dataset = declared()
    headers = {"Content-Range": "bytes 0-99/10240"}
    refused = client.put(dataset["urls"]["content"], content=CONTENT, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (400, "upload_length")
    assert received(client, dataset) == 0
    longer = client.put(dataset["urls"]["content"], content=iter([CONTENT, b"more"]))
    assert (longer.status_code, longer.json()["received_bytes"]) == (400, 0)


def test_a_body_shorter_than_its_range_is_kept(client, declared, send):
    dataset = declared()
    refused = send(dataset, 0, 8000, content=CONTENT[:300])
    assert (refused.status_code, refused.json()["received_bytes"]) == (400, 300)
    assert received(client, dataset) == 300
    assert send(dataset, 300, len(CONTENT)).json()["state"] == "processing"
    assert stored(dataset) == CONTENT


def test_encoded_bodies_are_refused(client, declared):
    dataset = declared()
    headers = {"Content-Encoding": "gzip"}
    refused = client.put(dataset["urls"]["content"], content=b"x", headers=headers)
    assert refused.status_code == 415


def opened(url, dataset, announced, content):
    """Send a request of so many bytes, but only the first of them; return the connection."""
    place = urlsplit(url)
    connection = socket.create_connection((place.hostname, place.port))
    path = dataset["urls"]["content"]
    head = f"PUT {path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {announced}\r\n\r\n"
    connection.sendall(head.encode() + content)
    return connection


def wait_until(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_arrived_before_a_connection_broke_is_kept(url, client, declared):
    """What was written, that is; the last piece may have been on its way."""
    content = CONTENT * 300
    dataset = declared(bytes=len(content))
    written = uploads.content(dataset["id"])
    with opened(url, dataset, len(content), content[:-1000]):
        wait_until(lambda: written.exists() and written.stat().st_size > MEGABYTE)
    wait_until(lambda: received(client, dataset) > MEGABYTE)
    start = received(client, dataset)
    headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
    answer = client.put(dataset["urls"]["content"], content=content[start:], headers=headers)
    assert answer.json()["state"] == "processing"
    assert stored(dataset) == content


def test_a_body_that_does_not_go_on_lets_others_send(url, client, declared, send, monkeypatch):
    dataset = declared()
    monkeypatch.setattr(receiving, "IDLE_SECONDS", 1.0)
    with opened(url, dataset, len(CONTENT), CONTENT[:5000]) as connection:
        assert b"408" in connection.recv(100)
    wait_until(lambda: received(client, dataset) == 5000)
    wait_until(lambda: send(dataset, 5000, len(CONTENT)).is_success)
    assert stored(dataset) == CONTENT


def test_two_who_send_at_once_cannot_mix(url, client, declared, send):
    dataset = declared()
    with opened(url, dataset, len(CONTENT), CONTENT[:5000]):
        wait_until(lambda: uploads.content(dataset["id"]).exists())
        wait_until(lambda: send(dataset, 0, 100).json()["code"] == "upload_busy")
    wait_until(lambda: received(client, dataset) == 5000)


def test_of_many_who_send_the_same_part_one_is_taken(declared, send):
    dataset = declared()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(dataset, 0, len(CONTENT)), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 7]
    assert stored(dataset) == CONTENT


def test_a_whole_dataset_takes_no_more(declared, send):
    dataset = declared()
    send(dataset, 0, len(CONTENT))
    refused = send(dataset, 0, len(CONTENT))
    assert (refused.status_code, refused.json()["code"]) == (409, "upload_ended")


def test_a_dataset_that_is_deleted_meanwhile_takes_no_more(url, client, declared):
    dataset = declared()
    with opened(url, dataset, len(CONTENT), CONTENT[:5000]) as connection:
        wait_until(lambda: uploads.content(dataset["id"]).exists())
        assert client.delete(dataset["urls"]["self"]).status_code == 200
        connection.sendall(CONTENT[5000:])
        assert b"409" in connection.recv(100)
    assert client.head(dataset["urls"]["content"]).status_code == 404
    uploads.expire_once()
    assert not uploads.folder_of(dataset["id"]).exists()


def test_a_full_disk_keeps_what_came_before(client, declared, send, in_environment, store):
    dataset = declared()
    send(dataset, 0, 4000)
    free = uploads.spare_bytes() // MEGABYTE
    assert store.is_dir()
    with in_environment(NPAS_FREE_MEGABYTES=str(free + 100_000)):
        refused = send(dataset, 4000, 9000)
    assert (refused.status_code, refused.json()["code"]) == (507, "insufficient_storage")
    assert received(client, dataset) == 9000
    assert send(dataset, 9000, len(CONTENT)).json()["state"] == "processing"
    assert stored(dataset) == CONTENT


def test_bytes_beyond_what_is_recorded_are_written_again(declared, send):
    """As after a kill of the API in the midst of a part."""
    dataset = declared()
    send(dataset, 0, 4000)
    with uploads.content(dataset["id"]).open("ab") as file:
        file.write(b"not recorded")
    send(dataset, 4000, len(CONTENT))
    assert stored(dataset) == CONTENT


def test_a_part_is_not_recorded_where_another_was(declared):
    """As of two machines whose shared disk knows no locks."""
    dataset = declared()
    part = uploads.Part.open(dataset["id"], 0)
    with transaction() as session:
        datasets.look_up(session, dataset["id"]).received_bytes = 5
    part.write(b"one")
    with pytest.raises(uploads.UploadEndedError):
        part.keep()
    part.close()
